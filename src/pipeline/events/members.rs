//! The members of an event as spans of its bytes.
//!
//! serde_json judges the grammar and says where values begin and end (`RawValue`); it neither bounds the depth of what
//! it passes over nor looks into its strings, so both are done here, on text that is known to be JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{Field, Rejection};
use crate::pipeline::MAX_DEPTH;

/// JSON's blanks.
pub(super) const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// One value, as its client wrote it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    pub(super) fn raw(self) -> &'a str {
        self.0
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(super) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(super) fn is_boolean(self) -> bool {
        self.0 == "true" || self.0 == "false"
    }

    /// A number without fraction and exponent, however long.
    pub(super) fn is_integer(self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    }

    /// What a string says.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        // Fails on a lone surrogate alone, and `members` has refused those.
        serde_json::from_str(self.0).ok().map(Cow::Owned)
    }
}

/// An event's object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a> {
    /// From brace to brace.
    pub(super) text: &'a str,
    pub(super) is_empty: bool,
    /// A string or a name in it holds U+0000.
    pub(super) has_nul: bool,
}

impl Object<'_> {
    /// Where in `text` a value of this object lies.
    pub(super) fn place(&self, value: Value<'_>) -> std::ops::Range<usize> {
        let start = value.0.as_ptr().addr() - self.text.as_ptr().addr();
        start..start + value.0.len()
    }
}

/// Calls `each` with every member of the object that `item` is, in order.
pub(super) fn members<'a>(
    item: &'a [u8],
    each: impl FnMut(Cow<'a, str>, Value<'a>),
) -> Result<Object<'a>, Rejection> {
    let text = std::str::from_utf8(item).map_err(|_| Rejection::NotUtf8)?;
    // Most have no blanks around them, and looking by characters is slow.
    let is_bare = text.starts_with('{') && text.ends_with('}');
    let text = if is_bare { text } else { text.trim_matches(BLANKS) };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Each(each).deserialize(&mut reader).and_then(|is_empty| reader.end().map(|()| is_empty));
    let Ok(is_empty) = read else { return Err(unreadable(text)) };
    if is_too_deep(text.as_bytes()) {
        return Err(Rejection::TooDeep);
    }
    let has_nul = has_nul(text.as_bytes())?;
    Ok(Object { text, is_empty, has_nul })
}

/// Why the text could not be read as an object. A lone surrogate in a name stops the reading, one in a value does not.
#[cold]
fn unreadable(text: &str) -> Rejection {
    match serde_json::from_str::<&RawValue>(text) {
        Err(_) => Rejection::NotJson,
        Ok(_) if is_too_deep(text.as_bytes()) => Rejection::TooDeep,
        Ok(_) if text.starts_with('{') => Rejection::LoneSurrogate,
        Ok(_) => Rejection::NotAnObject,
    }
}

/// The members that a route knows, and the one that makes the key.
pub(super) struct Known<'a, const N: usize> {
    pub(super) object: Object<'a>,
    pub(super) values: [Option<Value<'a>>; N],
    pub(super) key: Option<Value<'a>>,
}

/// Finds the members named `fields`, and `key_field` beside them; the others are passed over.
pub(super) fn known<'a, const N: usize>(
    item: &'a [u8],
    fields: &[(&str, Field); N],
    key_field: Option<&str>,
) -> Result<Known<'a, N>, Rejection> {
    let (mut values, mut key, mut fault) = ([None; N], None, None);
    let object = members(item, |name, value| {
        if let Some(at) = fields.iter().position(|(known, _)| *known == name)
            && values[at].replace(value).is_some()
        {
            fault.get_or_insert(Rejection::duplicate(fields[at].1));
        }
        if key_field.is_some_and(|key_field| key_field == name) && key.replace(value).is_some() {
            fault.get_or_insert(Rejection::duplicate(Field::KeyMember));
        }
    })?;
    match fault {
        Some(fault) => Err(fault),
        None => Ok(Known { object, values, key }),
    }
}

struct Each<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, Value<'de>)> DeserializeSeed<'de> for Each<F> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Cow<'de, str>, Value<'de>)> Visitor<'de> for Each<F> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Whether the object is empty.
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let mut is_empty = true;
        while let Some(Name(name)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            (self.0)(name, Value(value.get()));
            is_empty = false;
        }
        Ok(is_empty)
    }
}

/// A member's name, copied only where it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        reader.deserialize_str(Reading)
    }
}

/// Whether objects and arrays nest deeper than allowed, in text that is JSON.
fn is_too_deep(json: &[u8]) -> bool {
    // Brackets inside strings count here, so this only ever says too much.
    if json.len() <= 2 * MAX_DEPTH || openings(json) <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut is_text, mut at) = (0_usize, false, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' => at += 1, // stands in strings only; what it escapes is no quote
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
        at += 1;
    }
    false
}

/// How many `[` and `{`, in strings or not; a block at a time, so that a byte holds its count and many are looked at
/// at once. 0x20 is what the two differ in.
fn openings(json: &[u8]) -> usize {
    let count = |block: &[u8]| block.iter().fold(0, |sum: u8, byte| sum + u8::from(byte | 0x20 == b'{'));
    json.chunks(usize::from(u8::MAX)).map(|block| usize::from(count(block))).sum()
}

/// Looks at each escape in text that is JSON: whether one is U+0000, and that surrogates come in pairs.
fn has_nul(json: &[u8]) -> Result<bool, Rejection> {
    let (mut found, mut at) = (false, 0);
    while let Some(next) = memchr::memchr(b'\\', &json[at..]) {
        at += next;
        match unit(&json[at..]) {
            None => at += 2, // an escape of one letter
            Some(0xd800..=0xdbff) => {
                let Some(0xdc00..=0xdfff) = unit(&json[at + 6..]) else {
                    return Err(Rejection::LoneSurrogate);
                };
                at += 12;
            }
            Some(0xdc00..=0xdfff) => return Err(Rejection::LoneSurrogate),
            Some(code) => {
                found |= code == 0;
                at += 6;
            }
        }
    }
    Ok(found)
}

/// The code unit of the escape that `json` begins with.
fn unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
