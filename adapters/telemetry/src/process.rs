//! Metrics of this process from the operating system, under the names of all Prometheus client libraries.
//!
//! Constraints and invariants:
//! * They are read at each scrape, from files that the kernel generates on the fly, without disk access.
//! * A value that cannot be read, as on systems without `/proc`, is left out; it is never reported as zero.

use std::fmt::Write;
use std::fs;
use std::sync::OnceLock;

use crate::metric::Metric;

/// The values from the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    cpu_seconds: Option<f64>,
    resident_bytes: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    start_seconds: Option<f64>,
}

impl Process {
    /// The current values.
    pub fn read() -> Self {
        /// The value is constant, and its source file is long on large machines.
        static BOOT_SECONDS: OnceLock<Option<f64>> = OnceLock::new();
        let text = |path| fs::read_to_string(path).ok();
        let stat = text("/proc/self/stat");
        let stat = stat.as_deref().and_then(Stat::parse);
        let ticks = as_float(rustix::param::clock_ticks_per_second());
        let page_bytes = as_float(rustix::param::page_size() as u64);
        let boot = *BOOT_SECONDS.get_or_init(|| boot_seconds(&text("/proc/stat")?));
        Self {
            cpu_seconds: stat.map(|stat| as_float(stat.cpu_ticks) / ticks),
            resident_bytes: stat.map(|stat| as_float(stat.resident_pages) * page_bytes),
            // One of them is that of the directory itself.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| as_float(entries.count() as u64) - 1.0),
            max_fds: text("/proc/self/limits").and_then(|limits| max_fds(&limits)),
            start_seconds: stat.zip(boot).map(|(stat, boot)| boot + as_float(stat.start_ticks) / ticks),
        }
    }

    /// Appends the metrics in the Prometheus text format. Written by hand, since counters of the recorder have no
    /// fractions.
    pub fn render(self, text: &mut String) {
        for (metric, value) in [
            (Metric::ProcessCpu, self.cpu_seconds),
            (Metric::ProcessResidentMemory, self.resident_bytes),
            (Metric::ProcessOpenFds, self.open_fds),
            (Metric::ProcessMaxFds, self.max_fds),
            (Metric::ProcessStart, self.start_seconds),
        ] {
            let Some(value) = value else { continue };
            let (name, help) = (metric.name(), metric.help());
            let kind = metric.kind().name();
            // Writing to a string does not fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
        }
    }
}

/// Memory of this process that is not swapped out, in bytes; `None` if the system does not tell.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let pages = Stat::parse(&stat)?.resident_pages;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Fields of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// CPU time in user and kernel mode, of all threads.
    cpu_ticks: u64,
    /// Start time since boot.
    start_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    /// `proc_pid_stat(5)`. The name, the second field, may contain spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        // The first of these fields is the third of the file.
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self { cpu_ticks: field(14)? + field(15)?, start_ticks: field(22)?, resident_pages: field(24)? })
    }
}

/// Boot time of the machine, from `/proc/stat`, in seconds since 1970.
fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The soft limit, from `/proc/self/limits`; `None` if unlimited.
fn max_fds(limits: &str) -> Option<f64> {
    let limits = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    limits.split_ascii_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; up to 2^53 it is exact")]
pub(crate) fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_parsed() {
        let stat =
            "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 1 0 250 50 0 0 20 0 9 0 12345 268435456 2560 18446744073709551615 1";
        let stat = Stat::parse(stat).expect("a line of the kernel");
        assert_eq!(stat, Stat { cpu_ticks: 300, start_ticks: 12_345, resident_pages: 2_560 });
        assert_eq!(Stat::parse("7 (spillway) S 1"), None);
        assert_eq!(boot_seconds("cpu  1 2 3\nbtime 1700000000\nprocesses 9\n"), Some(1_700_000_000.0));
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(max_fds(limits), Some(1_024.0));
        assert_eq!(max_fds(&limits.replace("1024", "unlimited")), None);
    }

    #[test]
    fn unknown_values_are_left_out() {
        let mut text = String::new();
        Process { cpu_seconds: Some(1.25), ..Process::default() }.render(&mut text);
        let cpu = text.strip_prefix("# HELP process_cpu_seconds_total ").expect("its help");
        assert!(
            cpu.ends_with("\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.25\n\n"),
            "{cpu}"
        );
        assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 3);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_files_and_started_after_the_machine() {
        let before = Process::read();
        let file = fs::File::open("/proc/self/stat").expect("it is there");
        let process = Process::read();
        drop(file);
        assert!(process.resident_bytes > Some(100_000.0), "{process:?}");
        assert!(resident_bytes() > Some(100_000));
        assert!(process.cpu_seconds >= before.cpu_seconds && process.cpu_seconds.is_some(), "{process:?}");
        // Other tests open files too, but not that many.
        assert!(process.open_fds > Some(3.0) && process.open_fds < Some(10_000.0), "{process:?}");
        assert!(process.start_seconds > Some(1_600_000_000.0), "{process:?}");
        assert_eq!(process.start_seconds, before.start_seconds);
    }
}
