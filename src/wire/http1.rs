//! HTTP/1.x request heads and responses for the health listener (RFC 9112, RFC 9110).
//!
//! Owns what a request head must look like and how a response is written. Sans-IO: bytes in, bytes out; no socket, no
//! clock (hence no `Date`, RFC 9110 6.6.1), no routes. It takes no bodies: whatever announces one is refused and the
//! connection is over, because where the next request would begin is then a matter of opinion. For the same reason
//! it is strict where RFC 9112 lets a receiver be lenient: a bare LF, a folded header or a second Content-Length is a
//! fault. What is found does not depend on how the bytes were cut.

use std::io::Write;

use memchr::memchr_iter;

/// Longest request head in bytes, blank lines before it included.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most header lines of a request.
pub const HEADERS_MAX: usize = 64;

/// Methods that the health listener tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Other,
}

/// A request without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'i> {
    pub method: Method,
    /// Path of the target as sent (not percent-decoded), without the query.
    pub path: &'i str,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Whether HTML is asked for by name: a browser's `Accept`, not the `*/*` of other clients.
    pub accepts_html: bool,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'i> {
    /// The beginning of a head; come again with more.
    Partial,
    /// A whole head, and its length in bytes.
    Complete(Request<'i>, usize),
}

/// Why a request is refused. The peer's fault always, and the end of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not HTTP/1.x, or a shape in which two receivers might see two different requests.
    Malformed(&'static str),
    /// A body is announced.
    BodyAnnounced,
    /// More than [`HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    HeadTooLarge,
}

impl Fault {
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::BodyAnnounced => 413,
            Self::HeadTooLarge => 431,
        }
    }

    /// One sentence for the peer.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Malformed(what) => what,
            Self::BodyAnnounced => "this listener takes no request bodies",
            Self::HeadTooLarge => "a request head may have 8 KiB and 64 header lines",
        }
    }
}

/// Looks for one request head at the start of `input`.
///
/// # Errors
/// The [`Fault`] to be answered; nothing after it on the connection means anything.
pub fn parse(input: &[u8]) -> Result<Parsed<'_>, Fault> {
    let within = &input[..input.len().min(HEAD_BYTES_MAX)];
    let bare_lf = bare_lf(within);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(&within[..bare_lf.unwrap_or(within.len())]) {
        Ok(httparse::Status::Complete(bytes)) => Ok(Parsed::Complete(request(&head)?, bytes)),
        Ok(httparse::Status::Partial) if bare_lf.is_some() => {
            Err(Fault::Malformed("a line must end with CRLF"))
        }
        Ok(httparse::Status::Partial) if within.len() == HEAD_BYTES_MAX => Err(Fault::HeadTooLarge),
        Ok(httparse::Status::Partial) => Ok(Parsed::Partial),
        Err(httparse::Error::TooManyHeaders) => Err(Fault::HeadTooLarge),
        Err(httparse::Error::Version) => Err(Fault::Malformed("only HTTP/1.0 and HTTP/1.1 are spoken here")),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            Err(Fault::Malformed("a header line is malformed"))
        }
        Err(_) => Err(Fault::Malformed("the request line is malformed")),
    }
}

/// Place of the first LF without a CR before it; httparse would take it for the end of a line.
fn bare_lf(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', bytes).find(|&at| at == 0 || bytes[at - 1] != b'\r')
}

/// Meaning of a whole head.
fn request<'i>(head: &httparse::Request<'_, 'i>) -> Result<Request<'i>, Fault> {
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Fault::Malformed("the request line is malformed"));
    };
    let fields = Fields::of(head.headers)?;
    if version == 1 && !fields.host {
        return Err(Fault::Malformed("Host is missing")); // RFC 9112 3.2
    }
    if version == 0 && fields.transfer_coded {
        return Err(Fault::Malformed("Transfer-Encoding does not exist in HTTP/1.0")); // RFC 9112 6.1
    }
    if fields.transfer_coded || fields.content_length.is_some_and(|length| length > 0) {
        return Err(Fault::BodyAnnounced);
    }
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    Ok(Request {
        method,
        path: path_of(target, method)?,
        keep_alive: version == 1 && !fields.close,
        accepts_html: fields.html,
    })
}

/// The header fields that decide where a request ends and what follows.
#[derive(Default)]
struct Fields {
    host: bool,
    close: bool,
    content_length: Option<u64>,
    transfer_coded: bool,
    html: bool,
}

impl Fields {
    fn of(headers: &[httparse::Header<'_>]) -> Result<Self, Fault> {
        let mut fields = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("host") && std::mem::replace(&mut fields.host, true) {
                return Err(Fault::Malformed("Host is given twice"));
            } else if is("connection") {
                fields.close |=
                    header.value.split(|&b| b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"close"));
            } else if is("accept") {
                fields.html |= header.value.split(|&b| b == b',').any(is_html);
            } else if is("content-length")
                && fields.content_length.replace(length_of(header.value)?).is_some()
            {
                return Err(Fault::Malformed("Content-Length is given twice"));
            } else if is("transfer-encoding") {
                let again = std::mem::replace(&mut fields.transfer_coded, true);
                if again || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Malformed("Transfer-Encoding is not understood"));
                }
            }
        }
        if fields.transfer_coded && fields.content_length.is_some() {
            return Err(Fault::Malformed("Content-Length and Transfer-Encoding exclude each other"));
        }
        Ok(fields)
    }
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

/// Decimal digits and nothing else: no sign, no list, no blank (RFC 9110 8.6).
fn length_of(value: &[u8]) -> Result<u64, Fault> {
    let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|v| v.parse().ok()).ok_or(Fault::Malformed("Content-Length is not a number"))
}

/// Path of an origin-form or absolute-form target (RFC 9112 3.2). The other two forms belong to methods that are
/// not served; they pass as they are and match no route.
fn path_of(target: &str, method: Method) -> Result<&str, Fault> {
    let before_query = target.split_once('?').map_or(target, |(path, _)| path);
    let absolute = before_query
        .split_once("://")
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"));
    match absolute {
        _ if before_query.starts_with('/') || method == Method::Other => Ok(before_query),
        Some((_, rest)) if !rest.is_empty() && !rest.starts_with('/') => {
            Ok(rest.find('/').map_or("/", |slash| &rest[slash..]))
        }
        _ => Err(Fault::Malformed("the request target is not a path")),
    }
}

/// A response with its whole body.
#[derive(Clone, Copy, Debug)]
pub struct Response<'b> {
    pub status: u16,
    pub content_type: &'static str,
    /// Further header lines, each with its CRLF.
    pub headers: &'static str,
    pub body: &'b str,
    /// Whether the connection stays open after it.
    pub keep_alive: bool,
    /// Answer to HEAD: the same header, without the body.
    pub head_only: bool,
}

impl Response<'_> {
    /// Appends the response. 405 names the methods that there are, 503 says when to ask again.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { status, content_type, headers, .. } = *self;
        let length = self.body.len();
        let connection = if self.keep_alive { "keep-alive" } else { "close" };
        let extra = match status {
            405 => "Allow: GET, HEAD\r\n",
            503 => "Retry-After: 1\r\n",
            _ => "",
        };
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
             Connection: {connection}\r\nCache-Control: no-store\r\n{extra}{headers}\r\n",
            reason(status),
        );
        if !self.head_only {
            out.extend_from_slice(self.body.as_bytes());
        }
    }
}

/// Reason phrase of the statuses used here; others get none, which is valid.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
