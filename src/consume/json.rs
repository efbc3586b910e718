//! Members of a JSON object as the spans that they are, without building what nobody asks for.
//!
//! Only the outermost object is looked into. A name that comes twice counts as its last, as in most readers.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::table::Poison;

/// The values of `names` in `bytes`, in that order; absent ones are `None`.
///
/// # Errors
/// Not UTF-8, not JSON, or not an object.
pub fn members<'a, const N: usize>(
    bytes: &'a [u8],
    names: &[&str; N],
) -> Result<[Option<&'a RawValue>; N], Poison> {
    let text = std::str::from_utf8(bytes).map_err(|error| Poison::new("not_utf8", error.to_string()))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Members(names)).and_then(|found| reader.end().map(|()| found));
    found.map_err(|error| match error.is_data() {
        true => Poison::new("not_an_object", "the value is JSON, but no object"),
        false => Poison::new("not_json", error.to_string()),
    })
}

struct Members<'n, const N: usize>(&'n [&'n str; N]);

impl<'a, const N: usize> Visitor<'a> for Members<'_, N> {
    type Value = [Option<&'a RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(name) = map.next_key::<Name<'a>>()? {
            match self.0.iter().position(|known| *known == name.0) {
                Some(place) => found[place] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'a> serde::Deserialize<'a> for Name<'a> {
    fn deserialize<D: serde::Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'a> Visitor<'a> for Text {
            type Value = Name<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'a str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The text of a JSON string.
///
/// # Errors
/// It is no string, or one with half of a surrogate pair.
pub fn text<'a>(value: &'a RawValue, name: &str) -> Result<Cow<'a, str>, Poison> {
    let raw = value.get();
    match serde_json::from_str::<&str>(raw) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) if raw.starts_with('"') => serde_json::from_str::<String>(raw)
            .map(Cow::Owned)
            .map_err(|error| Poison::new("invalid_text", format!("{name}: {error}"))),
        Err(_) => Err(Poison::new("mistyped", format!("{name} must be a string"))),
    }
}

/// A member that must be there and not null.
///
/// # Errors
/// It is not.
pub fn required<'a>(value: Option<&'a RawValue>, name: &str) -> Result<&'a RawValue, Poison> {
    value
        .filter(|value| value.get() != "null")
        .ok_or_else(|| Poison::new("missing", format!("{name} is missing")))
}

/// The text of a member that must be there.
///
/// # Errors
/// As [`required`] and [`text`].
pub fn required_text<'a>(value: Option<&'a RawValue>, name: &str) -> Result<Cow<'a, str>, Poison> {
    text(required(value, name)?, name)
}

/// Text that must be a UUID.
///
/// # Errors
/// It is missing, or none.
pub fn required_uuid<'a>(value: Option<&'a RawValue>, name: &str) -> Result<Cow<'a, str>, Poison> {
    let text = required_text(value, name)?;
    match uuid::Uuid::try_parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(Poison::new("not_a_uuid", format!("{name} must be a UUID"))),
    }
}

/// Text that has the shape of a time in RFC 3339; whether there is such a day, PostgreSQL says.
///
/// # Errors
/// It has not.
pub fn time<'a>(text: Cow<'a, str>, name: &str) -> Result<Cow<'a, str>, Poison> {
    let shape = |b: u8| if b.is_ascii_digit() { b'0' } else { b.to_ascii_uppercase() };
    let shaped: Vec<u8> = text.bytes().take(64).map(shape).collect();
    let rest = shaped.strip_prefix(b"0000-00-00T00:00:00");
    let zone = rest.map(|rest| match rest.strip_prefix(b".0") {
        Some(fraction) => &fraction[fraction.iter().take_while(|b| **b == b'0').count()..],
        None => rest,
    });
    match zone {
        Some(b"Z" | b"+00:00" | b"-00:00") => Ok(text),
        _ => Err(Poison::new("invalid_time", format!("{name} must be a time in RFC 3339"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn get(json: &[u8]) -> Result<[Option<String>; 3], String> {
        let own = |value: Option<&RawValue>| value.map(|value| value.get().to_owned());
        members(json, &NAMES).map(|found| found.map(own)).map_err(|poison| poison.code)
    }

    #[test]
    fn members_come_as_they_are_written() {
        let some = |text: &str| Some(text.to_owned());
        let found = get(br#" {"b": 1.50e2, "x":[{"a":7}], "a":"\u00e9", "\u0063":null} "#).unwrap();
        assert_eq!(found, [some(r#""\u00e9""#), some("1.50e2"), some("null")]);
        assert_eq!(get(br#"{"a":1,"a":2}"#).unwrap()[0], some("2"), "the last one counts");
        assert_eq!(get(b"{}").unwrap(), [None, None, None]);
    }

    #[test]
    fn what_is_no_object_has_a_name() {
        for (bytes, code) in [
            (&b"[1]"[..], "not_an_object"),
            (b"7", "not_an_object"),
            (b"null", "not_an_object"),
            (b"", "not_json"),
            (b"{\"a\":}", "not_json"),
            (b"{} {}", "not_json"),
            (b"{\"a\":1", "not_json"),
            (b"\xff", "not_utf8"),
        ] {
            assert_eq!(get(bytes), Err(code.into()), "{}", bytes.escape_ascii());
        }
        let deep = [b"{\"a\":".as_slice(), &b"[".repeat(100_000)].concat();
        assert_eq!(get(&deep), Err("not_json".into()));
    }

    #[test]
    fn texts_uuids_and_times() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let code =
            |result: Result<Cow<'_, str>, Poison>| result.map(Cow::into_owned).map_err(|poison| poison.code);
        assert_eq!(code(text(&raw(r#""\u00e9""#), "x")), Ok("é".into()));
        assert_eq!(code(text(&raw(r#""\ud800""#), "x")), Err("invalid_text".into()));
        assert_eq!(code(text(&raw("7"), "x")), Err("mistyped".into()));
        assert_eq!(code(required_text(None, "x")), Err("missing".into()));
        assert_eq!(code(required_text(Some(&raw("null")), "x")), Err("missing".into()));
        let id = "\"550e8400-e29b-41d4-a716-446655440000\"";
        assert!(required_uuid(Some(&raw(id)), "x").is_ok());
        assert_eq!(code(required_uuid(Some(&raw("\"550e\"")), "x")), Err("not_a_uuid".into()));
        for good in
            ["2024-01-01T12:00:00Z", "2024-01-01t12:00:00.123456+05:30", "9999-99-99T99:99:99.9-00:00"]
        {
            assert!(time(good.into(), "x").is_ok(), "{good}");
        }
        for bad in [
            "",
            "now",
            "infinity",
            "2024-01-01",
            "2024-01-01 12:00:00Z",
            "2024-01-01T12:00:00",
            "2024-01-01T12:00:00.Z",
            "2024-01-01T12:00:00Z ",
            "2024-01-01T12:00:00+0530",
        ] {
            assert!(time(bad.into(), "x").is_err(), "{bad}");
        }
    }
}
