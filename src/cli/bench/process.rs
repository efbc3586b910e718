//! CPU and memory of a process from /proc: read-only, by process id, exact to a scheduler's tick.

use std::collections::BTreeMap;
use std::fs;

/// Nanoseconds of one tick of utime and stime where the kernel has no schedstat: USER_HZ is 100 on every Linux port.
const TICK_NS: u64 = 10_000_000;

/// A process to be observed.
pub struct Process {
    root: String,
    before: Cpu,
    pub rss_before_kib: u64,
}

/// CPU time in nanoseconds by thread name.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    pub by_thread: BTreeMap<String, u64>,
}

/// CPU and memory over a run.
#[derive(Clone, Debug)]
pub struct Usage {
    pub cpu: Cpu,
    pub rss_before_kib: u64,
    pub rss_after_kib: u64,
    /// VmHWM: the largest resident size since the process began, not since the run did.
    pub rss_peak_kib: u64,
}

impl Process {
    /// Begins to observe `pid`; what it used before does not count.
    pub fn open(pid: u32) -> Result<Self, String> {
        Self::at(format!("/proc/{pid}")).map_err(|e| format!("--pid {pid}: {e}"))
    }

    fn at(root: String) -> Result<Self, String> {
        let before = Cpu::read(&root)?;
        let rss_before_kib = memory_kib(&root, "VmRSS:")?;
        Ok(Self { root, before, rss_before_kib })
    }

    /// What the process used since [`Process::open`]; an error when it has gone.
    pub fn usage(&self) -> Result<Usage, String> {
        Ok(Usage {
            cpu: Cpu::read(&self.root)?.since(&self.before),
            rss_before_kib: self.rss_before_kib,
            rss_after_kib: memory_kib(&self.root, "VmRSS:")?,
            rss_peak_kib: memory_kib(&self.root, "VmHWM:")?,
        })
    }
}

impl Cpu {
    pub fn total_ns(&self) -> u64 {
        self.by_thread.values().sum()
    }

    fn read(root: &str) -> Result<Self, String> {
        let mut cpu = Self::default();
        let tasks = fs::read_dir(format!("{root}/task")).map_err(|e| format!("{root}/task: {e}"))?;
        for task in tasks.flatten() {
            let path = task.path();
            let path = path.to_string_lossy();
            // A thread may end between the listing and the reading.
            let (Ok(name), Some(ns)) = (fs::read_to_string(format!("{path}/comm")), task_ns(&path)) else {
                continue;
            };
            *cpu.by_thread.entry(name.trim_end().to_owned()).or_default() += ns;
        }
        Ok(cpu)
    }

    fn since(&self, before: &Self) -> Self {
        let earlier = |name: &str| before.by_thread.get(name).copied().unwrap_or(0);
        let used = self.by_thread.iter().map(|(name, ns)| (name.clone(), ns.saturating_sub(earlier(name))));
        Self { by_thread: used.collect() }
    }
}

/// CPU of the calling thread so far, in nanoseconds; 0 where /proc does not tell.
pub fn thread_cpu_ns() -> u64 {
    task_ns("/proc/thread-self").unwrap_or(0)
}

fn task_ns(path: &str) -> Option<u64> {
    if let Ok(text) = fs::read_to_string(format!("{path}/schedstat")) {
        return text.split(' ').next()?.parse().ok();
    }
    stat_ns(&fs::read_to_string(format!("{path}/stat")).ok()?)
}

/// utime + stime of a stat line: fields 14 and 15, counted after the name, which may hold spaces and brackets.
fn stat_ns(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let utime: u64 = fields.next()?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some((utime + stime) * TICK_NS)
}

fn memory_kib(root: &str, field: &str) -> Result<u64, String> {
    let status = fs::read_to_string(format!("{root}/status")).map_err(|e| format!("{root}/status: {e}"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(field));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok())
        .ok_or_else(|| format!("{root}/status: no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_busy_thread_is_seen_under_its_name() {
        let process = Process::open(std::process::id()).unwrap();
        let busy = std::thread::Builder::new().name("busy-bench".into()).spawn(|| {
            let until = Instant::now() + Duration::from_millis(200);
            let mut turns = 0u64;
            while Instant::now() < until {
                turns += 1;
            }
            (turns, Cpu::read("/proc/self").unwrap())
        });
        let (turns, during) = busy.unwrap().join().unwrap();
        assert!(turns > 0);
        let used = during.since(&process.before).by_thread["busy-bench"];
        assert!(used > 5_000_000 && used < 2_000_000_000, "{used} ns");
        let usage = process.usage().unwrap();
        assert!(
            usage.rss_peak_kib >= usage.rss_before_kib.min(usage.rss_after_kib) && usage.rss_peak_kib > 0
        );
    }

    #[test]
    fn a_stat_line_is_read_after_the_last_bracket() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 21 4 0 0 20 0 1 0 9\n";
        assert_eq!(stat_ns(stat), Some(25 * TICK_NS));
        assert!(Process::open(u32::MAX).is_err());
    }
}
