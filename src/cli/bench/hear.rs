//! The hearing half of a connection: a thread that blocks on answers, so that each is timed when it comes.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::answers::{Answers, Due};
use super::plan::Clock;

/// How long a blocked read or write may keep a thread from looking at the clock.
pub const GLANCE: Duration = Duration::from_millis(100);

/// Reads answers until the peer closes or `give_up` is set.
pub fn listen(
    mut stream: &TcpStream,
    clock: Clock,
    due: &Mutex<VecDeque<Due>>,
    give_up: &AtomicBool,
) -> Answers {
    let mut answers = Answers::new();
    let mut buffer = vec![0; 16 << 10];
    let mut filled = 0;
    while !give_up.load(Ordering::Relaxed) {
        let read = match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(_) => break,
        };
        let now_ns = clock.now_ns();
        filled += read;
        let mut waiting = lock(due);
        let mut begin = 0;
        while let Some(lf) = buffer[begin..filled].iter().position(|b| *b == b'\n') {
            let line = &buffer[begin..begin + lf];
            answers.handle_line(line.strip_suffix(b"\r").unwrap_or(line), now_ns, &mut waiting);
            begin += lf + 1;
        }
        drop(waiting);
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
        if filled == buffer.len() {
            answers.totals.strange += 1; // an answer without end
            filled = 0;
        }
    }
    answers
}

/// A poisoned lock means that the other thread panicked; what it guards is a queue, whole at every moment.
pub fn lock(due: &Mutex<VecDeque<Due>>) -> MutexGuard<'_, VecDeque<Due>> {
    due.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
