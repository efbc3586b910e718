//! Parameters in a query string, percent-decoded and bounded.

use std::borrow::Cow;

use super::Fault;

/// Longest decoded value in bytes.
pub const PARAM_BYTES_MAX: usize = 256;

/// Value of the first parameter of that name; empty where it has no `=`. `+` is a blank, as forms write it. Only what
/// is asked for is decoded: another parameter's value may be anything.
///
/// # Errors
/// An escape that is none, a value that is not UTF-8 or too long: the request's fault, not the connection's.
pub fn query_param<'q>(query: &'q str, name: &str) -> Result<Option<Cow<'q, str>>, Fault> {
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decode(key, key.len())? == name {
            return decode(value, PARAM_BYTES_MAX).map(Some);
        }
    }
    Ok(None)
}

fn decode(text: &str, most: usize) -> Result<Cow<'_, str>, Fault> {
    let plain = !text.bytes().any(|byte| byte == b'%' || byte == b'+');
    let decoded = if plain { Cow::Borrowed(text) } else { Cow::Owned(unescape(text)?) };
    if decoded.len() > most {
        return Err(Fault::Malformed("a parameter of the query is too long"));
    }
    Ok(decoded)
}

fn unescape(text: &str) -> Result<String, Fault> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [byte, after @ ..] = rest {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |at| rest.get(at).and_then(|&byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    return Err(Fault::Malformed(
                        "the query has an escape that is not % and two hexadecimal digits",
                    ));
                };
                rest = &rest[2..];
                (high << 4 | low) as u8
            }
            _ => *byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| Fault::Malformed("a parameter of the query is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts_and_is_decoded() {
        let long = format!("a={}", "%41".repeat(PARAM_BYTES_MAX));
        for (query, name, value) in [
            ("ack=stored&timeout=5s", "ack", Some("stored")),
            ("ack=stored&timeout=5s", "timeout", Some("5s")),
            ("ack=1&ack=%zz", "ack", Some("1")), // what is not asked for is not judged
            ("x=%zz&ack=1", "ack", Some("1")),
            ("ack", "ack", Some("")),
            ("ack=", "ack", Some("")),
            ("&&ack=a=b", "ack", Some("a=b")),
            ("ack=a%20b+c%2Bd", "ack", Some("a b c+d")),
            ("ack=%C3%a9", "ack", Some("é")),
            ("%61ck=1", "ack", Some("1")),
            ("ACK=1", "ack", None),
            ("acknowledge=1&xack=2", "ack", None),
            ("", "ack", None),
            (&long, "a", Some(&"A".repeat(PARAM_BYTES_MAX))),
        ] {
            assert_eq!(
                query_param(query, name).map(|v| v.map(Cow::into_owned)),
                Ok(value.map(str::to_owned)),
                "{query}"
            );
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_a_fault() {
        let long = format!("ack={}", "a".repeat(PARAM_BYTES_MAX + 1));
        for query in
            ["ack=%", "ack=%4", "ack=a%4", "ack=%4g", "ack=%+4", "ack=%%41", "ack=%ff", "a%k=1&ack=2", &long]
        {
            assert!(matches!(query_param(query, "ack"), Err(Fault::Malformed(_))), "{query}");
        }
    }
}
