//! Frames (S0-R2b): however the bytes are cut, they give what reading the whole prefix by prefix gives.
#![no_main]

mod feed;

use feed::{Found, feed};
use libfuzzer_sys::fuzz_target;
use sluice::wire::Frames;

fuzz_target!(|data: &[u8]| {
    let [max, rest @ ..] = data else { return };
    let max = usize::from(*max % 24);
    let (cuts, lengths) = rest.split_at(rest.len().min(4));
    let fed = |input: &[u8], cuts: &[u8]| {
        let mut frames = Frames::new(max);
        feed(|held, eof| frames.next(held, eof), input, cuts)
    };
    // The bytes as they are, and as short frames whose lengths they give: the former seldom has a second one.
    let short = lengths
        .iter()
        .flat_map(|length| [0, 0, 0, length % 32].into_iter().chain((0..length % 32).map(|_| b'x')));
    let mut short: Vec<u8> = short.collect();
    short.truncate(short.len().saturating_sub(usize::from(lengths.first().copied().unwrap_or(0) % 8)));
    for input in [lengths, &short] {
        let whole = fed(input, &[]);
        assert_eq!(whole, by_the_book(input, max));
        assert_eq!(fed(input, cuts), whole);
        assert_eq!(fed(input, &[0]), whole);
    }
});

fn by_the_book(mut input: &[u8], max: usize) -> Vec<Found> {
    let mut found = Vec::new();
    while !input.is_empty() {
        let Some((prefix, rest)) = input.split_first_chunk() else {
            found.push(Found::Truncated);
            break;
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        found.push(match rest.get(..length) {
            _ if length > max => Found::TooLong,
            Some(body) => Found::Message(body.to_vec()),
            None => Found::Truncated,
        });
        input = rest.get(length..).unwrap_or(&[]);
    }
    found
}
