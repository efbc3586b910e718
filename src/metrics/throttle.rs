//! Keeps repeated warnings from drowning the log: so many lines of a kind in a second, the rest counted.
//!
//! Counts, and nothing else: what a kind is and how the summary reads is the caller's, and time is an argument. The
//! metrics count every event whatever is shown here.

/// One window, in milliseconds.
const WINDOW_MS: u64 = 1000;

/// Limits lines by kind; kinds are small numbers that the caller gives out.
#[derive(Clone, Debug)]
pub struct Throttle {
    lines_per_second: u32,
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    window_from_ms: u64,
    shown: u32,
    suppressed: u64,
}

impl Throttle {
    /// For kinds 0 to `kinds` - 1, each with at most `lines_per_second` lines.
    #[must_use]
    pub fn new(kinds: usize, lines_per_second: u32) -> Self {
        Self { lines_per_second, kinds: vec![Kind::default(); kinds] }
    }

    /// Whether a line of `kind` may be written at `now_ms`; if not, it is counted. A kind out of range may always.
    pub fn allow(&mut self, kind: usize, now_ms: u64) -> bool {
        let Some(kind) = self.kinds.get_mut(kind) else { return true };
        // A clock that went back opens a new window too: it must not silence a kind until it has caught up.
        if now_ms < kind.window_from_ms || now_ms - kind.window_from_ms >= WINDOW_MS {
            kind.window_from_ms = now_ms;
            kind.shown = 0;
        }
        if kind.shown < self.lines_per_second {
            kind.shown += 1;
            return true;
        }
        kind.suppressed += 1;
        false
    }

    /// Gives out how many lines of each kind were held back since the last call, and forgets them: what the caller
    /// writes as one summary line a kind, at a rhythm of its own.
    pub fn drain_suppressed(&mut self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let counts = self.kinds.iter_mut().map(|kind| std::mem::take(&mut kind.suppressed));
        counts.enumerate().filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(throttle: &mut Throttle) -> Vec<(usize, u64)> {
        throttle.drain_suppressed().collect()
    }

    #[test]
    fn so_many_lines_a_second_and_kind() {
        let mut throttle = Throttle::new(2, 5);
        let shown = (0..1000).filter(|ms| throttle.allow(0, 10_000 + ms)).count();
        assert_eq!(shown, 5);
        assert!(throttle.allow(1, 10_500), "kinds do not share their lines");
        assert!(throttle.allow(0, 11_000), "the next second has its own");
        assert_eq!(drain(&mut throttle), [(0, 995)]);
        assert_eq!(drain(&mut throttle), [], "told once");
    }

    #[test]
    fn a_flood_without_pause_is_summed_up_too() {
        let mut throttle = Throttle::new(1, 5);
        let shown = (0..30_000).filter(|ms| throttle.allow(0, *ms)).count();
        assert_eq!((shown, drain(&mut throttle)), (150, vec![(0, 29_850)]));
    }

    #[test]
    fn a_clock_that_goes_back_silences_nothing() {
        let mut throttle = Throttle::new(1, 1);
        assert!(throttle.allow(0, 1_000_000));
        assert!(throttle.allow(0, 5));
        assert!(!throttle.allow(0, 6));
    }

    #[test]
    fn a_kind_that_was_never_declared_is_shown() {
        assert!(Throttle::new(0, 0).allow(3, 0));
    }
}
