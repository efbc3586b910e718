//! A client's object with members of ours: at its front, or in the place of one of its own.

use std::ops::Range;

use super::members::{Object, Value};

/// A member of ours.
pub(super) struct Fill<'v> {
    name: &'static str,
    /// JSON text of the value, its quotes apart.
    value: &'v [u8],
    is_text: bool,
    /// The client's value that gives way, in the object's text.
    instead: Option<Range<usize>>,
}

impl<'v> Fill<'v> {
    /// A string that needs no escapes, in place of `old` if that is given.
    pub(super) fn text(
        name: &'static str,
        value: &'v [u8],
        object: &Object<'_>,
        old: Option<Value<'_>>,
    ) -> Self {
        Self { name, value, is_text: true, instead: old.map(|old| object.place(old)) }
    }

    /// A new member that is null.
    pub(super) fn null(name: &'static str) -> Self {
        Self { name, value: b"null", is_text: false, instead: None }
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.is_text {
            out.push(b'"');
        }
        out.extend_from_slice(self.value);
        if self.is_text {
            out.push(b'"');
        }
    }
}

/// Appends the object; what is new comes in the order of `fills`.
pub(super) fn object<const N: usize>(object: &Object<'_>, fills: &[Option<Fill<'_>>; N], out: &mut Vec<u8>) {
    let text = object.text.as_bytes();
    // Room for the brace and what any of our members takes.
    out.reserve(text.len() + N * 64);
    out.push(b'{');
    let mut is_first = true;
    for fill in fills.iter().flatten().filter(|fill| fill.instead.is_none()) {
        out.extend_from_slice(if is_first { b"\"" } else { b",\"" });
        out.extend_from_slice(fill.name.as_bytes());
        out.extend_from_slice(b"\":");
        fill.write(out);
        is_first = false;
    }
    if !is_first && !object.is_empty {
        out.push(b',');
    }
    let mut from = 1;
    while let Some((place, fill)) = next(fills, from) {
        out.extend_from_slice(&text[from..place.start]);
        fill.write(out);
        from = place.end;
    }
    out.extend_from_slice(&text[from..]);
}

/// The first value from there on that gives way.
fn next<'f, 'v>(fills: &'f [Option<Fill<'v>>], from: usize) -> Option<(&'f Range<usize>, &'f Fill<'v>)> {
    let places = fills.iter().flatten().filter_map(|fill| Some((fill.instead.as_ref()?, fill)));
    places.filter(|(place, _)| place.start >= from).min_by_key(|(place, _)| place.start)
}
