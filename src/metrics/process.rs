//! The standard `process_*` metrics, from `/proc/self`.
//!
//! Reads a handful of small files without blocking on anything; what cannot be read or understood (another kernel, a
//! hidden /proc) is `None` and simply not shown. Names and meaning as in the Prometheus client libraries.

use std::fs;

use super::exposition::Exposition;

/// Unit of times in `/proc/*/stat`: USER_HZ, 100 a second on Linux whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// This process as the kernel sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessSnapshot {
    /// User and system time used, all threads.
    pub cpu_seconds: Option<f64>,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub open_fds: Option<u64>,
    /// Soft limit of open descriptors; `None` if there is none.
    pub max_fds: Option<u64>,
    /// Unix time at which the process was started.
    pub start_unix_seconds: Option<f64>,
    pub threads: Option<u64>,
}

impl ProcessSnapshot {
    /// Reads what there is, in about 0.1 ms: for a scrape, not for every turn of a loop.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: status_value(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_bytes: status_value(&status, "VmSize:").map(|kib| kib * 1024),
            open_fds: open_fds(),
            max_fds: max_fds(&limits),
            start_unix_seconds: start_unix_seconds(&stat),
            threads: status_value(&status, "Threads:"),
        }
    }

    pub(super) fn families(&self, text: &mut Exposition<'_>) {
        if let Some(seconds) = self.cpu_seconds {
            text.counter("process_cpu_seconds_total", "User and system CPU time used.", seconds);
        }
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory.", self.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory.", self.virtual_bytes),
            ("process_open_fds", "Open file descriptors.", self.open_fds),
            ("process_max_fds", "Limit of open file descriptors.", self.max_fds),
            ("process_threads", "Threads.", self.threads),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                text.gauge(name, help, value);
            }
        }
        if let Some(at) = self.start_unix_seconds {
            text.gauge("process_start_time_seconds", "Unix time at which the process was started.", at);
        }
    }
}

/// Field `number` (from 1, as in proc(5)) of `/proc/self/stat`. Counted from the last `)`: the program's name, field 2,
/// may hold blanks and parentheses.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) as f64 / TICKS_PER_SECOND)
}

/// The boot time never changes while we run, but is kept nowhere: this is read a few times a minute.
fn start_unix_seconds(stat: &str) -> Option<f64> {
    let since_boot = stat_field(stat, 22)? as f64 / TICKS_PER_SECOND;
    let system = fs::read_to_string("/proc/stat").ok()?;
    Some(status_value(&system, "btime")? as f64 + since_boot)
}

/// First number on the line that starts with `key`.
fn status_value(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|l| l.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn max_fds(limits: &str) -> Option<u64> {
    status_value(limits, "Max open files")
}

/// The folder's size is the count since Linux 6.2; before that it is 0 and the entries are counted, the one that the
/// count itself opens left out.
fn open_fds() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (slu) ice (x) S 1 7 7 0 -1 4194560 1 0 0 0 1234 66 0 0 20 0 4 0 500 9 8";

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        assert_eq!(cpu_seconds(STAT), Some(13.0));
        assert_eq!(stat_field(STAT, 20), Some(4));
        assert_eq!(stat_field(STAT, 22), Some(500));
    }

    #[test]
    fn what_is_missing_or_strange_is_none() {
        for stat in ["", "7", "7 (x)", "7 (x) S 1", "7 (x) S a b c d e f g h i j k l m n"] {
            assert_eq!(cpu_seconds(stat), None, "{stat}");
        }
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited            files"),
            None
        );
        assert_eq!(
            max_fds("Max open files            1024                 524288               files"),
            Some(1024)
        );
        assert_eq!(status_value("VmRSS:\t    1964 kB\n", "VmRSS:"), Some(1964));
        assert_eq!(status_value("VmRSS:\n", "VmRSS:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_all_of_them() {
        let files: Vec<_> = (0..50).filter_map(|_| fs::File::open("/proc/self/stat").ok()).collect();
        let p = ProcessSnapshot::read();
        assert!(p.open_fds.is_some_and(|n| n >= files.len() as u64), "{p:?}");
        assert!(p.resident_bytes.is_some_and(|n| n > 100_000) && p.virtual_bytes > p.resident_bytes, "{p:?}");
        assert!(p.cpu_seconds.is_some() && p.threads.is_some_and(|n| n >= 1), "{p:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - p.start_unix_seconds.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "{p:?}");
    }
}
