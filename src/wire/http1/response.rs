//! How a response is written: status line, the fields that end it, those of the caller, body.

/// What a header takes beside its values, usually.
const HEAD_BYTES: usize = 256;

/// The content type of most answers.
const JSON: &str = "application/json";

/// Tells a peer that waits with its body (`Expect: 100-continue`) to send it.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response with its whole body.
#[derive(Clone, Copy, Debug)]
pub struct Response<'b> {
    pub status: u16,
    /// Empty for none.
    pub content_type: &'b str,
    /// Further header lines. A byte in a value that would end its line is written as a blank (RFC 9110 5.5).
    pub headers: &'b [(&'b str, &'b str)],
    pub body: &'b [u8],
    /// Whether the connection stays open after it.
    pub keep_alive: bool,
    /// Answer to HEAD: the same header, without the body.
    pub head_only: bool,
    /// The peer speaks HTTP/1.0 and must be told that the connection stays. The version of the answer is ours all the
    /// same (RFC 9110 6.2).
    pub http10: bool,
}

impl Response<'_> {
    /// Appends the response.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(HEAD_BYTES + self.body.len());
        if self.write_head(self.body.len(), out) {
            out.extend_from_slice(self.body);
        }
    }

    /// Appends the response without its body, which has `length` bytes and is the caller's to append in place of
    /// [`Response::body`], where the answer is `true`.
    pub fn write_head(&self, length: usize, out: &mut Vec<u8>) -> bool {
        let Self { status, content_type, .. } = *self;
        // 1xx, 204 and 304 end with the header and may not give a length (RFC 9112 6.3, RFC 9110 8.6).
        let has_content = !matches!(status, 100..=199 | 204 | 304);
        out.reserve(HEAD_BYTES);
        let start = match has_content && content_type == JSON {
            true => json_start(status),
            false => "",
        };
        if start.is_empty() {
            start_of(status, has_content.then_some(content_type), out);
        } else {
            out.extend_from_slice(start.as_bytes());
        }
        if has_content {
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        match (self.keep_alive, self.http10) {
            (false, _) => field(out, "Connection", "close"),
            (true, true) => field(out, "Connection", "keep-alive"),
            (true, false) => {} // the default of HTTP/1.1 (RFC 9112 9.3)
        }
        for (name, value) in self.headers {
            field(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        has_content && !self.head_only
    }
}

/// Status line and Content-Type (empty for none), up to the number of Content-Length; without content the line alone.
fn start_of(status: u16, content_type: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, usize::from(status));
    for part in [" ", reason(status), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if let Some(content_type) = content_type {
        if !content_type.is_empty() {
            field(out, "Content-Type", content_type);
        }
        out.extend_from_slice(b"Content-Length: ");
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value] {
        out.extend_from_slice(part.as_bytes());
    }
    if memchr::memchr3(b'\r', b'\n', 0, value.as_bytes()).is_some() {
        let written = out.len() - value.len();
        for byte in &mut out[written..] {
            if matches!(*byte, b'\r' | b'\n' | 0) {
                *byte = b' ';
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal, without the detour over `fmt`, which a short answer would notice.
pub fn decimal(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Status of a response as [`Response::write`] wrote it.
pub fn status(response: &[u8]) -> Option<u16> {
    let digits: &[u8; 3] = response.get(9..12)?.try_into().ok()?;
    Some(digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit.wrapping_sub(b'0'))))
}

macro_rules! statuses {
    ($($status:literal $reason:literal,)*) => {
        /// Reason phrase of the statuses used here; others get none, which is valid (RFC 9112 4).
        pub fn reason(status: u16) -> &'static str {
            match status {
                $($status => $reason,)*
                _ => "",
            }
        }

        /// What [`start_of`] writes for a status that has a phrase, before JSON: one piece instead of nine, as nearly
        /// every answer begins so. Empty for others.
        fn json_start(status: u16) -> &'static str {
            match status {
                $($status => concat!(
                    "HTTP/1.1 ", $status, " ", $reason, "\r\nContent-Type: application/json\r\nContent-Length: "
                ),)*
                _ => "",
            }
        }
    };
}

statuses! {
    200 "OK",
    202 "Accepted",
    204 "No Content",
    207 "Multi-Status",
    400 "Bad Request",
    401 "Unauthorized",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    408 "Request Timeout",
    409 "Conflict",
    411 "Length Required",
    413 "Content Too Large",
    414 "URI Too Long",
    415 "Unsupported Media Type",
    417 "Expectation Failed",
    422 "Unprocessable Content",
    429 "Too Many Requests",
    431 "Request Header Fields Too Large",
    500 "Internal Server Error",
    501 "Not Implemented",
    503 "Service Unavailable",
    504 "Gateway Timeout",
    505 "HTTP Version Not Supported",
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Response<'_> = Response {
        status: 200,
        content_type: "text/plain",
        headers: &[],
        body: "hé\n".as_bytes(),
        keep_alive: true,
        head_only: false,
        http10: false,
    };

    fn write(response: Response<'_>) -> String {
        let mut out = b"before ".to_vec();
        response.write(&mut out);
        String::from_utf8(out).expect("text").strip_prefix("before ").expect("appended").to_owned()
    }

    #[test]
    fn a_response_says_its_length_and_whether_the_connection_stays() {
        let start = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n";
        assert_eq!(write(PLAIN), format!("{start}\r\nhé\n"));
        assert_eq!(write(Response { head_only: true, ..PLAIN }), format!("{start}\r\n"));
        let kept = write(Response { http10: true, ..PLAIN });
        assert_eq!(kept, format!("{start}Connection: keep-alive\r\n\r\nhé\n"));
        for http10 in [false, true] {
            let closed = write(Response { keep_alive: false, http10, ..PLAIN });
            assert_eq!(closed, format!("{start}Connection: close\r\n\r\nhé\n"));
        }
    }

    /// The short way of JSON writes what the long one does.
    #[test]
    fn json_starts_as_anything_else() {
        assert!([200, 202, 207].into_iter().all(|status| !json_start(status).is_empty()));
        for status in (100..600).filter(|status| !json_start(*status).is_empty()) {
            let mut long = Vec::new();
            start_of(status, Some(JSON), &mut long);
            assert_eq!(json_start(status).as_bytes(), long);
        }
        let of = |content_type| write(Response { content_type, ..PLAIN });
        assert_eq!(of(JSON), of("text/plain").replace("text/plain", JSON));
    }

    #[test]
    fn statuses_without_content_have_no_length() {
        for status in [204, 304] {
            let text = write(Response { status, ..PLAIN });
            assert_eq!(text, format!("HTTP/1.1 {status} {}\r\n\r\n", reason(status)));
        }
        let empty = write(Response { status: 202, content_type: "", body: b"", ..PLAIN });
        assert_eq!(empty, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn a_response_shows_its_status() {
        for code in [202, 429, 503] {
            let mut out = Vec::new();
            Response { status: code, ..PLAIN }.write(&mut out);
            assert_eq!(status(&out), Some(code));
        }
        assert_eq!((status(CONTINUE), status(b"HTTP/1.1 2")), (Some(100), None));
    }

    #[test]
    fn further_headers_cannot_end_their_line() {
        let headers = [("Retry-After", "1"), ("X", "a\r\nSet-Cookie: b\0")];
        let text = write(Response { headers: &headers, ..PLAIN });
        assert!(text.contains("\r\nRetry-After: 1\r\nX: a  Set-Cookie: b \r\n\r\n"), "{text:?}");
    }

    #[test]
    fn every_status_in_use_has_its_phrase() {
        let used = [
            200, 202, 204, 207, 400, 401, 403, 404, 405, 406, 408, 409, 411, 413, 414, 415, 417, 422, 429,
            431,
        ];
        for status in used.into_iter().chain([500, 501, 503, 504, 505]) {
            assert!(!reason(status).is_empty(), "{status}");
        }
        assert!(write(Response { status: 299, ..PLAIN }).starts_with("HTTP/1.1 299 \r\n"));
    }
}
