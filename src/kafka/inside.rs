//! One lane's records inside the client library: how many, and since when the oldest of them is on its way.
//!
//! Reports of a partition come in the order of its records, so counting tells which of them is the oldest. Its
//! moment is known from marks, one for a stretch of time and not one for a record: exact to a `grain`, and as few
//! as fit into the delivery timeout.

use std::collections::VecDeque;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Inside {
    /// Records that ever entered, and that ever left.
    entered: u64,
    left: u64,
    marks: VecDeque<Mark>,
    /// A record from here on gets a mark of its own.
    next_mark_us: u64,
}

/// The records from number `from` on were accepted at `since_us` or within a grain after it.
#[derive(Debug)]
struct Mark {
    from: u64,
    since_us: u64,
}

impl Inside {
    pub fn len(&self) -> usize {
        (self.entered - self.left) as usize
    }

    /// One more; `since_us` is what its deadline counts from.
    pub fn enter(&mut self, since_us: u64, grain_us: u64) {
        if since_us >= self.next_mark_us {
            self.forget();
            self.marks.push_back(Mark { from: self.entered, since_us });
            self.next_mark_us = since_us + grain_us;
        }
        self.entered += 1;
    }

    /// The last one did not enter after all.
    pub fn undo(&mut self) {
        if self.len() > 0 {
            self.entered -= 1;
            while self.marks.back().is_some_and(|mark| mark.from >= self.entered) {
                self.marks.pop_back();
                self.next_mark_us = 0;
            }
        }
    }

    /// The oldest one has ended.
    pub fn leave(&mut self) {
        self.left = (self.left + 1).min(self.entered);
    }

    /// Only so many are left, the newest.
    pub fn shrink(&mut self, len: usize) {
        self.left = self.left.max(self.entered - (len as u64).min(self.entered));
    }

    /// What the oldest one's deadline counts from: at most a grain earlier than its own moment.
    pub fn oldest_us(&mut self) -> Option<u64> {
        self.forget();
        self.marks.front().filter(|_| self.entered > self.left).map(|mark| mark.since_us)
    }

    /// Drops the marks of records that have all left.
    fn forget(&mut self) {
        while self.marks.get(1).is_some_and(|second| second.from <= self.left) {
            self.marks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAIN_US: u64 = 10;

    /// Against every record's own moment: never later than the oldest's, at most a grain earlier, whatever enters and
    /// leaves; and marks stay as few as the time between the oldest and the newest allows.
    #[test]
    fn the_oldest_is_known_to_a_grain() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let (mut inside, mut model, mut now_us) = (Inside::default(), VecDeque::new(), 0);
            for _ in 0..500 {
                now_us += rng.u64(..4);
                match rng.u32(..10) {
                    0..=4 => {
                        inside.enter(now_us, GRAIN_US);
                        model.push_back(now_us);
                    }
                    5 => {
                        inside.undo();
                        model.pop_back();
                    }
                    6 if rng.u32(..20) == 0 => {
                        let len = rng.usize(..=model.len());
                        inside.shrink(len);
                        model.drain(..model.len() - len);
                    }
                    _ => {
                        inside.leave();
                        model.pop_front();
                    }
                }
                assert_eq!(inside.len(), model.len());
                let (oldest_us, truth_us) = (inside.oldest_us(), model.front().copied());
                assert_eq!(oldest_us.is_some(), truth_us.is_some());
                if let (Some(oldest_us), Some(truth_us)) = (oldest_us, truth_us) {
                    assert!(
                        oldest_us <= truth_us && truth_us < oldest_us + GRAIN_US,
                        "{oldest_us} {truth_us}"
                    );
                    let span = now_us - oldest_us;
                    assert!(inside.marks.len() as u64 <= span / GRAIN_US + 2, "{:?}", inside.marks);
                }
            }
        }
    }

    #[test]
    fn nothing_inside_has_no_age() {
        let mut inside = Inside::default();
        inside.leave();
        inside.undo();
        inside.shrink(3);
        assert_eq!((inside.len(), inside.oldest_us()), (0, None));
        inside.enter(7, GRAIN_US);
        inside.leave();
        assert_eq!((inside.len(), inside.oldest_us()), (0, None));
    }
}
