//! The thread that writes letters, so that nobody else ever waits for a disk.
//!
//! It takes what waits, appends it, brings it to the disk with one `fdatasync`, and only then says so. Both channels
//! hold all jobs that may be under way, so neither end ever waits for the other.

use std::io;
use std::path::Path;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::folder::Folder;
use crate::event::quoted;
use crate::handoff::Token;

/// Letters under way to the disk at most.
pub const JOBS: usize = 1024;
/// Letters that share one `fdatasync`.
const TOGETHER: usize = 256;

/// One encoded letter, and whose it is.
#[derive(Debug)]
pub struct Job {
    pub token: Token,
    /// What its record counts for in the buffer.
    pub accounted_bytes: usize,
    pub letter: Vec<u8>,
}

/// How a job ended.
#[derive(Debug)]
pub struct Done {
    pub job: Job,
    pub is_written: bool,
}

/// The way to the thread. Dropped, the thread ends once it has written what it was given; nobody waits for that.
pub struct Writer {
    jobs: Sender<Job>,
    unbegun: Receiver<Job>,
    done: Receiver<Done>,
}

impl Writer {
    /// Starts the thread; `wake` is called when there is something in [`Writer::done`].
    pub fn start(dir: &Path, max_bytes: u64, wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (jobs, taken) = bounded(JOBS);
        let (sender, done) = bounded(2 * JOBS);
        let unbegun = taken.clone();
        let mut folder = Folder::new(dir, max_bytes);
        let shown = dir.display().to_string();
        thread::Builder::new().name("sluice-letters".into()).spawn(move || {
            if let Err(error) = folder.make() {
                complain(&shown, &error);
            }
            while let Ok(first) = taken.recv() {
                let jobs = std::iter::once(first).chain(taken.try_iter()).take(TOGETHER);
                for done in write(&mut folder, &shown, jobs.collect()) {
                    if sender.send(done).is_err() {
                        return;
                    }
                }
                wake();
            }
        })?;
        Ok(Self { jobs, unbegun, done })
    }

    /// Gives a letter to the thread; back if too many are under way.
    pub fn write(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|error| error.into_inner())
    }

    /// The next letter that has ended.
    pub fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Takes back a letter that the thread has not begun with.
    pub fn take_back(&self) -> Option<Job> {
        self.unbegun.try_recv().ok()
    }
}

fn write(folder: &mut Folder, dir: &str, jobs: Vec<Job>) -> Vec<Done> {
    let mut failure = None;
    let mut append = |job: Job| {
        let result = folder.append(&job.letter);
        let is_written = result.is_ok();
        failure = result.err().or(failure.take());
        Done { job, is_written }
    };
    let mut done: Vec<Done> = jobs.into_iter().map(&mut append).collect();
    if let Err(error) = folder.sync() {
        done.iter_mut().for_each(|done| done.is_written = false);
        failure = Some(error);
    }
    if let Some(error) = failure {
        complain(dir, &error);
    }
    done
}

/// One line for each lot that shares an `fdatasync`; every letter in it is named by whoever books it.
fn complain(dir: &str, error: &io::Error) {
    log::error!(target: "letters", "letters.failed dir={} reason={}", quoted(&dir), quoted(error));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::folder::segments;
    use super::super::format::{Letter, Piece, encode, read};
    use super::*;

    /// What is said to be written is on the disk, the rest is said to be not, and the thread goes on.
    #[test]
    fn every_letter_is_answered_truthfully() {
        let dir = tempfile::tempdir().unwrap();
        let (woken, wakes) = mpsc::channel();
        let writer = Writer::start(dir.path(), 4096, move || woken.send(()).unwrap_or(())).unwrap();
        for number in 0..200 {
            let mut letter = Vec::new();
            encode(&Letter { time_ms: number, key: None, value: &[7; 64], headers: b"" }, &mut letter);
            writer.write(Job { token: Token::nobody(number), accounted_bytes: 0, letter }).unwrap();
        }
        let mut written = Vec::new();
        let mut ended = 0;
        while ended < 200 {
            let Some(done) = writer.done() else {
                wakes.recv_timeout(Duration::from_secs(30)).expect("the thread answers");
                continue;
            };
            ended += 1;
            if done.is_written {
                written.push(done.job.token.to_bits());
            }
        }
        assert!(written.len() > 20 && written.len() < 200, "{}", written.len());
        let mut read_back = Vec::new();
        for segment in segments(dir.path()).unwrap() {
            for piece in read(&std::fs::read(segment.path).unwrap()) {
                if let Piece::Letter { letter, .. } = piece {
                    read_back.push(letter.time_ms);
                }
            }
        }
        assert_eq!(written, read_back);
    }
}
