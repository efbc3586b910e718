//! The lines that a child process writes, collected by a thread of their own so that the child never blocks on a
//! full pipe, and awaited without polling.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    ended: bool,
}

type Shared = Arc<(Mutex<Seen>, Condvar)>;

pub struct Lines {
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

impl Lines {
    /// Collects from `source` until it ends. Bytes that are not UTF-8 are replaced, not refused.
    pub fn of(source: impl Read + Send + 'static) -> Lines {
        let shared = Shared::default();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || collect(source, &theirs));
        Lines { shared, thread: Some(thread) }
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.shared.0.lock().unwrap().lines.clone()
    }

    /// The first line from index `from` on that is `wanted`, with its index; `None` when the source ended or
    /// `deadline` passed without one.
    pub fn find(
        &self,
        from: usize,
        deadline: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let (seen, changed) = &*self.shared;
        let end = Instant::now() + deadline;
        let mut seen = seen.lock().unwrap();
        let mut next = from;
        loop {
            while next < seen.lines.len() {
                if wanted(&seen.lines[next]) {
                    return Some((next, seen.lines[next].clone()));
                }
                next += 1;
            }
            let left = end.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                return None;
            }
            seen = changed.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// Waits for the source's end. Only to be called when the child has ended.
    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn collect(source: impl Read, shared: &Shared) {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    loop {
        line.clear();
        let ended = source.read_until(b'\n', &mut line).map_or(true, |bytes| bytes == 0);
        let mut seen = shared.0.lock().unwrap();
        seen.ended = ended;
        if !ended {
            let text = String::from_utf8_lossy(&line);
            seen.lines.push(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        shared.1.notify_all();
        if ended {
            return;
        }
    }
}
