//! The producer before the present one: frozen, purged, and kept until every record in it has its report.
//!
//! One at most: while it is there, the present one is not given up. Nothing here waits.

use std::io;
use std::thread::{self, JoinHandle};

use super::native::{Event, Native};

/// Time between two demands to give everything up, in microseconds.
pub const AGAIN_US: u64 = 500_000;

/// See the module's text.
#[derive(Default)]
pub struct Former {
    native: Option<Native>,
    /// When it is told once more to give up.
    again_us: u64,
    end: Option<JoinHandle<()>>,
}

impl Former {
    /// Takes a producer over and makes it give up everything inside.
    pub fn take(&mut self, mut native: Native, now_us: u64) {
        native.detach();
        native.give_up();
        self.again_us = now_us + AGAIN_US;
        self.native = Some(native);
    }

    /// Shows reports that have come, a few hundred at most.
    pub fn serve(&mut self, most: usize, now_us: u64, mut show: impl FnMut(Event<'_>)) {
        let Some(native) = &mut self.native else { return };
        if now_us >= self.again_us {
            self.again_us = now_us + AGAIN_US;
            native.give_up();
        }
        for _ in 0..most {
            if !native.poll(0, &mut show) {
                break;
            }
        }
    }

    /// Nothing is owed any more: the producer ends, on a thread of its own. Its end waits for the client library's
    /// threads, and one of those may just then wait for a name server, for tens of seconds.
    pub fn end(&mut self) -> io::Result<()> {
        let Some(native) = self.native.take() else { return Ok(()) };
        self.end = Some(thread::Builder::new().name("sluice-former".into()).spawn(move || drop(native))?);
        Ok(())
    }

    /// Whether the place is taken.
    pub fn is_there(&mut self) -> bool {
        if let Some(end) = self.end.take_if(|end| end.is_finished()) {
            // A panic there was reported by its thread; nothing to add here.
            let _ = end.join();
        }
        self.native.is_some() || self.end.is_some()
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        self.native = None;
        if let Some(end) = self.end.take() {
            // As above.
            let _ = end.join();
        }
    }
}
