//! Keeps repeated warnings from drowning the log: so many lines of a kind in a second, the rest counted and told
//! in one line later.
//!
//! Counts, and nothing else: what a kind is and how the summary reads is the caller's, and time is an argument. The
//! metrics count every event whatever is shown here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Lines of a kind in one window, unless said otherwise.
const LINES_PER_WINDOW: u32 = 5;

/// One window, in milliseconds.
const WINDOW_MS: u64 = 1000;

/// A summary comes this long after the first line that it sums up, in milliseconds.
const SUMMARY_MS: u64 = 10_000;

/// Kinds beyond this share the last one's lines: a bound for the table, far above what anybody has.
const KINDS_MAX: usize = 1024;

/// Lines held back since the process began, by all throttles: the log is the process's, and so is this count.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Lines that every throttle of this process has held back.
pub fn suppressed_lines() -> u64 {
    SUPPRESSED.load(Relaxed)
}

/// Limits lines by kind; kinds are small numbers that the caller gives out.
#[derive(Clone, Debug)]
pub struct Throttle {
    lines_per_window: u32,
    /// Grows with the highest kind that was asked for.
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    window_from_ms: u64,
    shown: u32,
    suppressed: u64,
    /// When the first of `suppressed` was held back.
    suppressed_from_ms: u64,
}

impl Default for Throttle {
    /// Five lines of each kind a second.
    fn default() -> Self {
        Self::new(LINES_PER_WINDOW)
    }
}

impl Throttle {
    /// At most `lines_per_second` lines of each kind.
    #[must_use]
    pub fn new(lines_per_second: u32) -> Self {
        Self { lines_per_window: lines_per_second, kinds: Vec::new() }
    }

    /// Whether a line of `kind` may be written at `now_ms`; if not, it is counted.
    pub fn allow(&mut self, kind: usize, now_ms: u64) -> bool {
        let index = kind.min(KINDS_MAX - 1);
        if index >= self.kinds.len() {
            self.kinds.resize(index + 1, Kind::default());
        }
        let kind = &mut self.kinds[index];
        if is_over(kind.window_from_ms, now_ms, WINDOW_MS) {
            kind.window_from_ms = now_ms;
            kind.shown = 0;
        }
        if kind.shown < self.lines_per_window {
            kind.shown += 1;
            return true;
        }
        if kind.suppressed == 0 {
            kind.suppressed_from_ms = now_ms;
        }
        kind.suppressed += 1;
        SUPPRESSED.fetch_add(1, Relaxed);
        false
    }

    /// Gives out, as (kind, count), what was held back, ten seconds after it began, and forgets it: one summary
    /// line each. May be called as often as one likes; at the end, `u64::MAX` gives out all that is left.
    pub fn drain_suppressed(&mut self, now_ms: u64) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.kinds.iter_mut().enumerate().filter_map(move |(index, kind)| {
            let due = kind.suppressed > 0 && is_over(kind.suppressed_from_ms, now_ms, SUMMARY_MS);
            due.then(|| (index, std::mem::take(&mut kind.suppressed)))
        })
    }
}

/// Whether a span has passed. A clock that went back ends it too: it must not silence anything until it catches up.
fn is_over(from_ms: u64, now_ms: u64, span_ms: u64) -> bool {
    now_ms.checked_sub(from_ms).is_none_or(|passed| passed >= span_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(throttle: &mut Throttle, now_ms: u64) -> Vec<(usize, u64)> {
        throttle.drain_suppressed(now_ms).collect()
    }

    #[test]
    fn so_many_lines_a_second_and_kind() {
        let mut throttle = Throttle::default();
        let shown = (0..1000).filter(|ms| throttle.allow(0, 10_000 + ms)).count();
        assert_eq!(shown, 5);
        assert!(throttle.allow(1, 10_500), "kinds do not share their lines");
        assert!(throttle.allow(0, 11_000), "the next second has its own");
        assert_eq!(drain(&mut throttle, 20_004), [], "the first was held back at 10005");
        assert_eq!(drain(&mut throttle, 20_005), [(0, 995)]);
        assert_eq!(drain(&mut throttle, 20_005), [], "told once");
    }

    #[test]
    fn a_flood_without_pause_is_summed_up_every_ten_seconds() {
        let mut throttle = Throttle::default();
        let (mut shown, mut summaries) = (0, Vec::new());
        for ms in 0..30_100 {
            shown += u64::from(throttle.allow(7, ms));
            summaries.extend(drain(&mut throttle, ms));
        }
        assert_eq!((shown, summaries.len()), (155, 3));
        summaries.extend(drain(&mut throttle, u64::MAX));
        let suppressed: u64 = summaries.iter().map(|(_, count)| count).sum();
        assert_eq!(shown + suppressed, 30_100, "every line is shown or counted");
        assert!(summaries.iter().all(|(kind, _)| *kind == 7));
    }

    #[test]
    fn a_clock_that_goes_back_silences_nothing() {
        let mut throttle = Throttle::new(1);
        assert!(throttle.allow(0, 1_000_000));
        assert!(!throttle.allow(0, 1_000_001));
        assert!(throttle.allow(0, 5));
        assert!(!throttle.allow(0, 6));
        assert_eq!(drain(&mut throttle, 6), [(0, 2)]);
    }

    #[test]
    fn a_wild_kind_costs_no_memory() {
        let mut throttle = Throttle::new(1);
        assert!(throttle.allow(usize::MAX, 0));
        assert!(!throttle.allow(usize::MAX - 1, 0));
        assert_eq!(drain(&mut throttle, u64::MAX), [(KINDS_MAX - 1, 1)]);
    }
}
