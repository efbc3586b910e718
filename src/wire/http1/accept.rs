//! What a peer says it would like to be answered with.

use super::Head;

/// Whether HTML is asked for by name: a browser's `Accept`, not the `*/*` of other clients.
pub fn accepts_html(head: &Head<'_>) -> bool {
    let lines = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("accept"));
    lines.flat_map(|(_, value)| value.split(|&byte| byte == b',')).any(is_html)
}

/// Whether a member of `Accept` is text/html; a weight of 0 is a refusal (RFC 9110 12.5.1).
fn is_html(member: &[u8]) -> bool {
    let mut parts = member.split(|&b| b == b';').map(<[u8]>::trim_ascii);
    let is_refusal = |part: &[u8]| {
        part.len() > 2
            && part[..2].eq_ignore_ascii_case(b"q=")
            && part[2..].iter().all(|b| matches!(b, b'0' | b'.'))
    };
    parts.next().is_some_and(|media| media.eq_ignore_ascii_case(b"text/html")) && !parts.any(is_refusal)
}

#[cfg(test)]
mod tests {
    use super::super::{HeaderSlots, Limits, Parsed, parse_head};
    use super::*;

    fn html(accept: &str) -> bool {
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{accept}\r\n");
        match parse_head(head.as_bytes(), &Limits::default(), &mut HeaderSlots::new()) {
            Ok(Parsed::Complete(head, _)) => accepts_html(&head),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn html_is_accepted_by_name_only() {
        for (accept, expected) in [
            ("text/html", true),
            ("application/xhtml+xml, Text/HTML;q=0.9,*/*;q=0.8", true),
            ("*/*", false),
            ("text/*", false),
            ("text/htmlx", false),
            ("text/html;level=1; q=0.0, */*", false),
            ("", false),
        ] {
            assert_eq!(html(&format!("Accept: {accept}\r\n")), expected, "{accept}");
        }
        assert!(html("Accept: text/html\r\nAccept: a/b\r\n"));
        assert!(!html(""));
    }
}
