//! The header fields that decide where a request ends and what follows it.

use httparse::Header;

use super::{Fault, head::is_authority};

/// How the body of a request is delimited (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither field is there, so there is no body. Whether the method needs one (411) is for the session to say.
    None,
    /// Content-Length; may be 0.
    Length(u64),
    /// Through [`super::Chunked`].
    Chunked,
}

impl Framing {
    /// Whether bytes of a body follow the head.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

#[derive(Default)]
pub(super) struct Fields {
    host: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    expect_other: bool,
    content_length: Option<u64>,
    coding: Option<TransferCoding>,
}

/// What the elements of all Transfer-Encoding lines come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TransferCoding {
    Chunked,
    /// Something else, and nothing after it so far.
    Unfinished,
    /// Something else, and `chunked` as the last.
    OtherThenChunked,
}

impl Fields {
    pub(super) fn of(headers: &[Header<'_>]) -> Result<Self, Fault> {
        let mut fields = Self::default();
        for Header { name, value } in headers {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match name.len() {
                4 if is("host") => fields.host(value)?,
                6 if is("expect") => fields.expect(value),
                10 if is("connection") => fields.connection(value),
                14 if is("content-length") => fields.content_length(value)?,
                17 if is("transfer-encoding") => fields.transfer_encoding(value)?,
                _ => {}
            }
        }
        Ok(fields)
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        if std::mem::replace(&mut self.host, true) {
            return Err(Fault::Malformed("Host is given twice"));
        }
        // Empty where the target has no authority (RFC 9110 7.2).
        if value.is_empty() || is_authority(value) {
            return Ok(());
        }
        Err(Fault::Malformed("Host is not a name or address with an optional port"))
    }

    fn connection(&mut self, value: &[u8]) {
        for option in elements(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn expect(&mut self, value: &[u8]) {
        for expectation in elements(value).filter(|expectation| !expectation.is_empty()) {
            let known = expectation.eq_ignore_ascii_case(b"100-continue");
            self.expect_continue |= known;
            self.expect_other |= !known;
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        match self.content_length.replace(length_of(value)?) {
            None => Ok(()),
            Some(_) => Err(Fault::Malformed("Content-Length is given twice")),
        }
    }

    /// An empty element counts as an unknown coding: what a receiver before us made of it is anyone's guess.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        for coding in elements(value) {
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = Some(match self.coding {
                Some(TransferCoding::Chunked | TransferCoding::OtherThenChunked) => {
                    return Err(Fault::Malformed("chunked must be the last transfer coding, and once")); // RFC 9112 6.1
                }
                None if chunked => TransferCoding::Chunked,
                Some(TransferCoding::Unfinished) if chunked => TransferCoding::OtherThenChunked,
                _ => TransferCoding::Unfinished,
            });
        }
        Ok(())
    }

    pub(super) fn framing(&self, http10: bool) -> Result<Framing, Fault> {
        if !http10 && !self.host {
            return Err(Fault::Malformed("Host is missing")); // RFC 9112 3.2
        }
        let Some(coding) = self.coding else {
            return Ok(self.content_length.map_or(Framing::None, Framing::Length));
        };
        if http10 {
            return Err(Fault::Malformed("Transfer-Encoding does not exist in HTTP/1.0")); // RFC 9112 6.1
        }
        if self.content_length.is_some() {
            return Err(Fault::Malformed("Content-Length and Transfer-Encoding exclude each other")); // RFC 9112 6.1
        }
        match coding {
            TransferCoding::Chunked => Ok(Framing::Chunked),
            // Without chunked at its end a body has none that could be found: 400 is a must (RFC 9112 6.3).
            TransferCoding::Unfinished => Err(Fault::Malformed("chunked must be the last transfer coding")),
            TransferCoding::OtherThenChunked => Err(Fault::UnknownTransferCoding),
        }
    }

    /// RFC 9112 9.3.
    pub(super) fn keep_alive(&self, http10: bool) -> bool {
        !self.close && (!http10 || self.keep_alive)
    }

    /// Whether the peer waits for 100 before it sends its body. HTTP/1.0 has no expectations (RFC 9110 10.1.1).
    pub(super) fn expect_continue(&self, http10: bool) -> Result<bool, Fault> {
        match self.expect_other {
            _ if http10 => Ok(false),
            true => Err(Fault::ExpectationFailed),
            false => Ok(self.expect_continue),
        }
    }
}

/// Elements of a comma-separated list (RFC 9110 5.6.1).
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Decimal digits and nothing else: no sign, no list, no blank (RFC 9110 8.6).
fn length_of(value: &[u8]) -> Result<u64, Fault> {
    let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|v| v.parse().ok()).ok_or(Fault::Malformed("Content-Length is not a number"))
}
