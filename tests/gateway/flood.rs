//! Senders that push numbered lines as fast as the gateway takes them.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Stored, assert_ordered_by_player, lines};
use crate::support::Sluice;

/// Lines in one write.
const LINES_A_WRITE: u64 = 200;

/// One connection that floods until it is told to stop, or cut off.
pub struct Flood {
    stop: Arc<AtomicBool>,
    /// Bytes that the kernel has taken.
    pub bytes: Arc<AtomicU64>,
    thread: JoinHandle<Sent>,
}

/// What a flood has sent.
#[derive(Debug)]
pub struct Sent {
    /// First score, and the first one that was not wholly given to the kernel.
    pub scores: std::ops::Range<u64>,
    /// It was cut off by the gateway, rather than told to stop.
    pub cut_off: bool,
}

impl Flood {
    /// Starts sending lines with scores from `first` on.
    pub fn start(sluice: &Sluice, first: u64) -> Flood {
        let stream = sluice.connect();
        stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&bytes));
        let thread = std::thread::spawn(move || push(stream, first, &stopped, &count));
        Flood { stop, bytes, thread }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(SeqCst)
    }

    /// Ends after a whole line, closes, and says what was sent.
    pub fn finish(self) -> Sent {
        self.stop.store(true, SeqCst);
        self.thread.join().expect("the sender ends well")
    }
}

/// Scores of flood `number`, when each starts at its own number times 2^32.
pub fn first_score(number: usize) -> u64 {
    (number as u64) << 32
}

/// Checks the order by player of each flood's own records: floods share players.
#[track_caller]
pub fn assert_each_ordered(stored: &[Stored], floods: usize) {
    for number in 0..floods {
        let of_flood = |one: &&Stored| one.update.score >> 32 == number as i64;
        assert_ordered_by_player(&stored.iter().filter(of_flood).cloned().collect::<Vec<_>>());
    }
}

fn push(mut stream: TcpStream, first: u64, stop: &AtomicBool, bytes: &AtomicU64) -> Sent {
    let mut next = first;
    while !stop.load(SeqCst) {
        let text = lines(next..next + LINES_A_WRITE);
        let mut written = 0;
        while written < text.len() {
            match stream.write(&text.as_bytes()[written..]) {
                Ok(count) => {
                    written += count;
                    bytes.fetch_add(count as u64, SeqCst);
                }
                // Blocked: asked to stop only matters between two lines, the rest of this one must go.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let at_line_end = written == 0 || text.as_bytes()[written - 1] == b'\n';
                    if stop.load(SeqCst) && at_line_end {
                        break;
                    }
                }
                Err(_) => {
                    let whole = text[..written].matches('\n').count() as u64;
                    return Sent { scores: first..next + whole, cut_off: true };
                }
            }
        }
        next += text[..written].matches('\n').count() as u64;
    }
    Sent { scores: first..next, cut_off: false }
}
