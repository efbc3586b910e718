//! The head of a request: request line and header lines, without what they mean for routes.
//!
//! httparse finds the tokens. What it lets pass and a proxy might read otherwise (a bare LF) is refused here.

use std::mem::MaybeUninit;

use httparse::{Header, Status};
use memchr::{memchr, memchr_iter};

use super::{Fault, Framing, fields::Fields};

/// The most header lines that [`Limits::headers`] can allow.
pub const HEADERS_MAX: usize = 64;

/// How large a head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, blank lines before the head included.
    pub head_bytes: usize,
    /// Header lines, [`HEADERS_MAX`] at most.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 16 * 1024, headers: HEADERS_MAX }
    }
}

/// Methods that are told apart. They are case-sensitive (RFC 9110 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Options,
    Other,
}

/// A request up to its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'i> {
    pub method: Method,
    /// Path of the target as sent (not percent-decoded), without the query. `*` of OPTIONS alone; for another
    /// method than the named ones it may be no path at all, and matches no route then.
    pub path: &'i str,
    /// What follows the first `?`.
    pub query: Option<&'i str>,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// Whether the peer speaks HTTP/1.0.
    pub http10: bool,
    /// Whether the peer waits for [`super::CONTINUE`] or a final answer before it sends its body.
    pub expect_continue: bool,
    pub framing: Framing,
    headers: &'i [Header<'i>],
}

impl<'i> Head<'i> {
    /// The first value of a header, whatever the case of its name; without blanks around it.
    pub fn header(&self, name: &str) -> Option<&'i [u8]> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// All header lines in their order.
    pub fn headers(&self) -> impl DoubleEndedIterator<Item = (&'i str, &'i [u8])> + use<'i> {
        self.headers.iter().map(|header| (header.name, header.value))
    }
}

/// Where the header lines of one head are noted. On the stack, and free: it is not even zeroed.
#[derive(Debug)]
pub struct HeaderSlots<'i>([MaybeUninit<Header<'i>>; HEADERS_MAX]);

impl HeaderSlots<'_> {
    pub fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; HEADERS_MAX])
    }
}

impl Default for HeaderSlots<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'i> {
    /// The beginning of a head, shorter than [`Limits::head_bytes`]; come again with more.
    Partial,
    /// A whole head, and its length in bytes.
    Complete(Head<'i>, usize),
}

/// Looks for one request head at the start of `input`. Begins anew with each call: a caller that has more bytes to
/// come asks again with all of them, which a head's limit keeps cheap.
///
/// # Errors
/// The [`Fault`] to be answered; nothing after it on the connection means anything.
pub fn parse_head<'h, 'i: 'h>(
    input: &'i [u8],
    limits: &Limits,
    slots: &'h mut HeaderSlots<'i>,
) -> Result<Parsed<'h>, Fault> {
    let within = &input[..input.len().min(limits.head_bytes)];
    let lines = limits.headers.min(HEADERS_MAX);
    let mut head = httparse::Request::new(&mut []);
    let mut found = head.parse_with_uninit_headers(within, &mut slots.0[..lines]);
    // httparse takes a bare LF for the end of a line. What stands before the first one decides. A CR it takes only
    // before an LF, so that counting both shows whether a whole head has a bare one; that is the quicker way.
    let bare_lf = match found {
        Ok(Status::Complete(bytes)) if has_as_many_cr_as_lf(&within[..bytes]) => None,
        _ => bare_lf(within),
    };
    if let Some(at) = bare_lf {
        let mut slots = HeaderSlots::new();
        found =
            httparse::Request::new(&mut []).parse_with_uninit_headers(&within[..at], &mut slots.0[..lines]);
    }
    match found {
        Ok(_) if bare_lf.is_some() => Err(Fault::Malformed("a line must end with CRLF")),
        Ok(Status::Complete(bytes)) => Ok(Parsed::Complete(meaning(head)?, bytes)),
        Ok(Status::Partial) if within.len() < limits.head_bytes => Ok(Parsed::Partial),
        Ok(Status::Partial) if memchr(b'\n', after_blank_lines(within)).is_none() => Err(Fault::UriTooLong),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => Err(Fault::HeadTooLarge),
        Err(httparse::Error::Version) => Err(version_fault(within)),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            Err(Fault::Malformed("a header line is malformed"))
        }
        Err(_) => Err(Fault::Malformed("the request line is malformed")),
    }
}

/// One pass over both, a block at a time so that the difference fits into a byte: that is what is made of many bytes
/// at once.
fn has_as_many_cr_as_lf(bytes: &[u8]) -> bool {
    let difference = |block: &[u8]| {
        let count = |sum: i8, byte: &u8| sum + i8::from(*byte == b'\r') - i8::from(*byte == b'\n');
        i64::from(block.iter().fold(0, count))
    };
    bytes.chunks(i8::MAX as usize).map(difference).sum::<i64>() == 0
}

/// Place of the first LF without a CR before it.
fn bare_lf(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', bytes).find(|&at| at == 0 || bytes[at - 1] != b'\r')
}

/// The request line and what follows: blank lines before it are skipped (RFC 9112 2.2).
fn after_blank_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    bytes
}

/// Tells another version of HTTP from something else, by the first byte that differs: so no cut changes it.
fn version_fault(bytes: &[u8]) -> Fault {
    let version = after_blank_lines(bytes).splitn(3, |&byte| byte == b' ').nth(2).unwrap_or_default();
    let differs = version.iter().zip(b"HTTP/1.1").position(|(got, known)| got != known);
    match differs {
        Some(at) if at >= b"HTTP/".len() && version[at].is_ascii_digit() => Fault::VersionUnsupported,
        _ => Fault::Malformed("the request line does not end with a version of HTTP"),
    }
}

/// Meaning of a whole head.
fn meaning<'h, 'i: 'h>(head: httparse::Request<'h, 'i>) -> Result<Head<'h>, Fault> {
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Fault::Malformed("the request line is malformed"));
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "OPTIONS" => Method::Options,
        _ => Method::Other,
    };
    let headers: &'h [Header<'h>] = head.headers;
    let http10 = version == 0;
    let fields = Fields::of(headers)?;
    let framing = fields.framing(http10)?;
    let (path, query) = split_target(target, method)?;
    Ok(Head {
        method,
        path,
        query,
        keep_alive: fields.keep_alive(http10),
        http10,
        expect_continue: fields.expect_continue(http10)? && framing.has_body(),
        framing,
        headers,
    })
}

/// Path and query of a target in one of its four forms (RFC 9112 3.2). Authority-form belongs to CONNECT, which is
/// not served: it passes as it is.
fn split_target(target: &str, method: Method) -> Result<(&str, Option<&str>), Fault> {
    if !target.is_ascii() || target.contains('#') {
        return Err(Fault::Malformed("the request target has a byte that must be percent-encoded"));
    }
    let (before, query) = match target.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (target, None),
    };
    let no_path = Err(Fault::Malformed("the request target is not a path"));
    if before.starts_with('/') || (target == "*" && method == Method::Options) {
        return Ok((before, query));
    }
    let Some((scheme, rest)) = before.split_once("://") else {
        return if method == Method::Other { Ok((before, query)) } else { no_path };
    };
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !is_http || !is_authority(authority.as_bytes()) {
        return no_path;
    }
    match path {
        // RFC 9112 3.2.4: the server itself is asked for.
        "" if method == Method::Options && query.is_none() => Ok(("*", None)),
        "" => Ok(("/", query)),
        _ => Ok((path, query)),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 7.2, RFC 3986 3.2.2), with a host; no userinfo (RFC 9110 4.2.4).
pub(super) fn is_authority(value: &[u8]) -> bool {
    let literal_end = value.starts_with(b"[").then(|| memchr(b']', value));
    let (host, port) = match literal_end {
        Some(None) => return false,
        Some(Some(end)) => (&value[1..end], &value[end + 1..]),
        None => value.split_at(memchr(b':', value).unwrap_or(value.len())),
    };
    let is_literal = literal_end.is_some();
    let is_host_byte = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => true,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => true,
        b':' => is_literal,
        b'%' => !is_literal,
        _ => false,
    };
    let port_is_good = port.is_empty()
        || port.strip_prefix(b":").is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
    !host.is_empty() && host.iter().all(is_host_byte) && port_is_good
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
