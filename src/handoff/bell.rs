//! Wakes a thread, but only one that sleeps: ringing costs a system call, looking at a flag does not.
//!
//! The sleeper announces its sleep, looks at its channel once more, then sleeps. A ringer that sent before it
//! looked at the flag is therefore never missed.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// How a thread can be woken; set once by its owner.
type Ring = Box<dyn Fn() + Send + Sync>;

/// A clonable handle to one thread's alarm.
#[derive(Clone, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sleep: AtomicU8,
    ring: OnceLock<Ring>,
}

/// How deep the thread behind a bell sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sleep {
    /// Works, and will look at its channel before it sleeps.
    Awake = 0,
    /// Looks again within a few milliseconds by itself: worth waking only for much work.
    Dozing = 1,
    /// Sleeps until woken.
    Asleep = 2,
}

impl Bell {
    /// Sets how to wake the owner. A later call replaces nothing: the first one counts.
    pub fn install(&self, ring: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.ring.set(Box::new(ring));
    }

    /// The owner says how deep it is about to sleep; it must look at its channel after this call.
    pub fn announce(&self, sleep: Sleep) {
        self.0.sleep.store(sleep as u8, SeqCst);
    }

    /// Wakes the owner if it sleeps; a dozing one only if the work is worth it.
    pub fn ring(&self, worth_waking_from_doze: bool) {
        let floor = if worth_waking_from_doze { Sleep::Dozing } else { Sleep::Asleep } as u8;
        if self.0.sleep.load(SeqCst) >= floor && self.0.sleep.swap(Sleep::Awake as u8, SeqCst) >= floor {
            self.ring_always();
        }
    }

    /// Wakes the owner whatever it does.
    pub fn ring_always(&self) {
        if let Some(ring) = self.0.ring.get() {
            ring();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("sleep", &self.0.sleep).finish_non_exhaustive()
    }
}
