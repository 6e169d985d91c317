//! Resource usage of processes, from the operating system's accounting (proc(5)).

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ticks per second in /proc/PID/stat: USER_HZ, which is 100 on every relevant Linux.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time used by a process so far, in user and kernel mode.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name, in parentheses, may contain spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS_PER_SECOND)
}

/// Resident memory of a process, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    memory_bytes(pid, "VmRSS:")
}

/// The most resident memory of a process so far, in bytes.
#[must_use]
pub fn peak_bytes(pid: u32) -> u64 {
    memory_bytes(pid, "VmHWM:")
}

fn memory_bytes(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// The processes whose command line contains this text.
#[must_use]
pub fn with_command(text: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    };
    pids.filter(has).collect()
}

/// Limits a process to a share of one core (cgroups(7), version 1 or 2). The group is removed on drop.
pub struct CpuQuota {
    group: PathBuf,
}

impl CpuQuota {
    /// Limits a process to this share of one core.
    #[must_use]
    pub fn of(pid: u32, share: f64) -> Self {
        const PERIOD_MICROS: f64 = 50_000.0;
        let quota = (PERIOD_MICROS * share).round();
        let first = Path::new("/sys/fs/cgroup/cpu");
        let is_first = first.is_dir();
        let parent = if is_first { first } else { Path::new("/sys/fs/cgroup") };
        let group = parent.join(format!("spillway-bench-{pid}"));
        std::fs::create_dir(&group).expect("a control group: needs root");
        let write = |file: &str, text: String| std::fs::write(group.join(file), text).expect("the group is set up");
        if is_first {
            write("cpu.cfs_period_us", PERIOD_MICROS.to_string());
            write("cpu.cfs_quota_us", quota.to_string());
        } else {
            write("cpu.max", format!("{quota} {PERIOD_MICROS}"));
        }
        write("cgroup.procs", pid.to_string());
        Self { group }
    }
}

impl Drop for CpuQuota {
    fn drop(&mut self) {
        // Fails while the process still exists; an empty group costs nothing.
        let _ = std::fs::remove_dir(&self.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some() {
        let began = cpu_time(std::process::id());
        let mut number = 1_u64;
        while cpu_time(std::process::id()) < began + Duration::from_millis(50) {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(resident_bytes(std::process::id()) > 100_000);
        assert!(peak_bytes(std::process::id()) > 100_000);
    }
}
