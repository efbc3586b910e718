//! Lines (S0-R1): however the bytes are cut, they give what splitting the whole at LF gives.
#![no_main]

mod feed;

use feed::{Found, feed};
use libfuzzer_sys::fuzz_target;
use sluice::wire::Lines;

fuzz_target!(|data: &[u8]| {
    let [max, cuts @ .., _] = data else { return };
    let max = usize::from(*max % 24);
    let (cuts, input) = cuts.split_at(cuts.len().min(4));
    let fed = |cuts: &[u8]| {
        let mut lines = Lines::new(max);
        feed(|held, eof| lines.next(held, eof), input, cuts)
    };
    let whole = fed(&[]);
    assert_eq!(whole, by_the_book(input, max));
    assert_eq!(fed(cuts), whole);
    assert_eq!(fed(&[0]), whole);
});

fn by_the_book(input: &[u8], max: usize) -> Vec<Found> {
    let lines = input.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let found = |line: &[u8]| if line.len() > max { Found::TooLong } else { Found::Message(line.to_vec()) };
    lines.filter(|line| !line.is_empty()).map(found).collect()
}
