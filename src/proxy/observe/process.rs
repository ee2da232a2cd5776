//! What the system says of this process, under the names that Prometheus clients agree on.
//! Called by `metrics` at a scrape. Invariant: a number that cannot be read is left out.

use std::fs;

/// Numbers of `/proc/self`.
#[derive(Debug, Default, Clone, Copy)]
pub struct ProcessStats {
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// User and system time in seconds.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// How many of them are allowed.
    pub max_fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl ProcessStats {
    /// The numbers now.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let fds = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Self {
            resident_bytes: field("VmRSS:").map(|kib| kib * 1024),
            cpu_seconds: cpu_seconds(&stat),
            // The listing itself holds one open.
            open_fds: fds.map(|count| count.saturating_sub(1)),
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            threads: field("Threads:"),
        }
    }
}

/// `utime` and `stime`, which stand behind the name in parentheses; that may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u32 = fields.nth(11)?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((f64::from(user) + f64::from(system)) / f64::from(ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_all_numbers() {
        let stats = ProcessStats::now();
        assert!(stats.resident_bytes.unwrap() > 100_000 && stats.threads.unwrap() >= 1);
        assert!(stats.open_fds.unwrap() >= 3 && stats.max_fds.unwrap() >= 3);
        let stat = "1 (a) b) S 0 0 0 0 0 0 0 0 0 0 150 50 0 0";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert!((cpu_seconds(stat).unwrap() - 200.0 / ticks).abs() < 1e-9);
        assert_eq!(cpu_seconds("1 (a"), None);
    }
}
