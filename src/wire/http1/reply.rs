//! Reads an answer, for those who send requests: the tools.
//!
//! Takes what a gateway of ours writes, and what servers like it do: a length, or nothing where a status has no body.
//! Chunks are a fault, as the tools have no use for answers without an end.

use std::ops::Range;

/// Longest head and longest body of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 16 << 20;
const HEADERS_MAX: usize = 64;

/// A whole answer at the start of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Where its body is in the input; the next answer begins where it ends.
    pub body: Range<usize>,
    /// Seconds that `Retry-After` names.
    pub retry_after: Option<u32>,
    /// Nothing follows on this connection.
    pub closes: bool,
}

/// Reads the first answer of `input`; `None` when it is not all there.
///
/// # Errors
/// What makes it no answer: the connection is of no further use.
pub fn parse_reply(input: &[u8]) -> Result<Option<Reply>, &'static str> {
    let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut slots);
    let head = match response.parse(input) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if input.len() > HEAD_BYTES_MAX => return Err("the head has no end"),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("it is not HTTP/1"),
    };
    let status = response.code.unwrap_or_default();
    let (mut length, mut retry_after, mut closes) = (None, None, response.version == Some(0));
    for header in response.headers.iter() {
        let value = header.value.trim_ascii();
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<usize>().ok());
        if header.name.eq_ignore_ascii_case("content-length") {
            let given = number().filter(|given| *given <= BODY_BYTES_MAX).ok_or("its length is no length")?;
            length = Some(given);
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            retry_after = number().map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("its body comes in chunks");
        }
    }
    let length = match (status, length) {
        (100..=199 | 204 | 304, _) => 0,
        (_, Some(length)) => length,
        (_, None) => return Err("its body has no length"),
    };
    let body = head..head + length;
    Ok((input.len() >= body.end).then_some(Reply { status, body, retry_after, closes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::Response;

    #[test]
    fn what_we_write_is_read_back_however_it_is_cut() {
        let mut bytes = Vec::new();
        let headers = [("Retry-After", "7")];
        for (status, keep_alive) in [(503, true), (204, true), (202, false)] {
            let (content_type, body) = ("text/plain", &b"body"[..]);
            let (head_only, http10) = (false, false);
            Response { status, content_type, headers: &headers, body, keep_alive, head_only, http10 }
                .write(&mut bytes);
        }
        let mut at = 0;
        for (status, body, closes) in [(503, "body", false), (204, "", false), (202, "body", true)] {
            let rest = &bytes[at..];
            let reply = parse_reply(rest).unwrap().unwrap();
            assert_eq!((reply.status, reply.retry_after, reply.closes), (status, Some(7), closes));
            assert_eq!(&rest[reply.body.clone()], body.as_bytes());
            for cut in 0..reply.body.end {
                assert_eq!(parse_reply(&rest[..cut]), Ok(None), "cut at {cut}");
            }
            at += reply.body.end;
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for (wrong, why) in [
            ("+ 12\n", "it is not HTTP/1"),
            ("HTTP/1.1 200 OK\r\n\r\n", "its body has no length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "its length is no length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "its length is no length"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "its body comes in chunks"),
        ] {
            assert_eq!(parse_reply(wrong.as_bytes()), Err(why), "{wrong}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse_reply(endless.as_bytes()), Err("the head has no end"));
    }
}
