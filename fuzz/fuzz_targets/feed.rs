//! Shared by the framers' targets: feeds bytes in the pieces that a cut pattern asks for.

use sluice::wire::{Item, Step};

/// A finding with its bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Message(Vec<u8>),
    TooLong,
    Truncated,
}

/// Everything that a framer finds in `input`, cut by the `cuts` (each a piece's length, used in rotation).
pub fn feed(mut next: impl FnMut(&[u8], bool) -> Step, input: &[u8], cuts: &[u8]) -> Vec<Found> {
    let (mut start, mut have, mut turn, mut found) = (0, 0, 0, Vec::new());
    loop {
        let eof = have == input.len();
        loop {
            let held = &input[start..have];
            let step = next(held, eof);
            assert!(step.consumed <= held.len());
            start += step.consumed;
            found.push(match step.item {
                Some(Item::Message(range)) => Found::Message(held[range].to_vec()),
                Some(Item::TooLong) => Found::TooLong,
                Some(Item::Truncated) => Found::Truncated,
                None => break,
            });
        }
        if eof {
            assert_eq!(start, input.len(), "at the end everything is consumed");
            return found;
        }
        let piece = cuts.get(turn % cuts.len().max(1)).map_or(input.len(), |cut| usize::from(*cut) + 1);
        turn += 1;
        have = (have + piece).min(input.len());
    }
}
