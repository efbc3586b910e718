//! The one helper that every codec passes: whole, byte by byte, and with trailing bytes.

use super::{Item, Step};

/// A finding with its bytes copied out, so that it can be compared over different cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Message(Vec<u8>),
    TooLong,
    Truncated,
}

/// Asserts that a codec finds `expected` in `input`: in one piece, one byte at a time, in every cut in two,
/// and first of all when complete messages are followed by bytes of the next one.
pub(crate) fn check<C>(new: impl Fn() -> C, input: &[u8], expected: &[Found])
where
    C: FnMut(&[u8], bool) -> Step,
{
    let shown = input.escape_ascii();
    assert_eq!(run(new(), &[input]), expected, "whole: {shown}");
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(run(new(), &bytes), expected, "byte by byte: {shown}");
    for at in 0..=input.len() {
        assert_eq!(run(new(), &[&input[..at], &input[at..]]), expected, "cut at {at}: {shown}");
    }
    with_trailing_bytes(new, input);
}

/// Asserts that bytes after a finding do not change it.
fn with_trailing_bytes<C>(new: impl Fn() -> C, input: &[u8])
where
    C: FnMut(&[u8], bool) -> Step,
{
    let first = new()(input, false);
    if matches!(first.item, Some(Item::Message(_))) {
        for trailing in [&b"\0"[..], b"\n", b"{\"lb\"", b"\xff\xff\xff\xff\xff"] {
            let longer = [input, trailing].concat();
            assert_eq!(new()(&longer, false), first, "with {trailing:?} behind: {}", input.escape_ascii());
        }
    }
}

/// Asserts that a random cut of `input` gives what the whole gives.
pub(crate) fn split_anywhere<C>(random: &mut fastrand::Rng, new: impl Fn() -> C, input: &[u8])
where
    C: FnMut(&[u8], bool) -> Step,
{
    let mut pieces = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(1..=rest.len()));
        pieces.push(piece);
        rest = after;
    }
    assert_eq!(run(new(), &pieces), run(new(), &[input]), "{}", input.escape_ascii());
}

/// Feeds the pieces as a connection would: what is not consumed stays in front of what comes next. The end
/// is told in a call of its own.
pub(crate) fn run(mut next: impl FnMut(&[u8], bool) -> Step, pieces: &[&[u8]]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut held: Vec<u8> = Vec::new();
    for (eof, piece) in pieces.iter().map(|piece| (false, *piece)).chain([(true, &b""[..])]) {
        held.extend_from_slice(piece);
        loop {
            let step = next(&held, eof);
            assert!(step.consumed <= held.len(), "consumed more than there was");
            let copied = step.item.map(|item| match item {
                Item::Message(range) => {
                    assert!(range.end <= step.consumed, "a message is consumed with its finding");
                    Found::Message(held[range].to_vec())
                }
                Item::TooLong => Found::TooLong,
                Item::Truncated => Found::Truncated,
            });
            held.drain(..step.consumed);
            let Some(item) = copied else { break };
            found.push(item);
        }
    }
    assert!(held.is_empty(), "at the end everything is consumed");
    found
}
