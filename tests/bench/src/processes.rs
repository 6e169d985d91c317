//! What processes cost, by the operating system's accounts (proc(5)).

use std::time::Duration;

/// Ticks of a second in /proc/PID/stat: USER_HZ, which is 100 on every Linux that matters.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time that a process has used so far, in user and kernel mode.
#[must_use]
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name, in brackets, may have spaces.
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 1_000 / TICKS_PER_SECOND)
}

/// Memory that a process has in RAM now, in bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

/// The processes whose command line has this text.
#[must_use]
pub fn with_command(text: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    };
    pids.filter(has).collect()
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
    }
}
