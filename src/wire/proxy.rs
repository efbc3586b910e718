//! PROXY protocol, versions 1 and 2: a load balancer's word about who is calling, before the first byte of the peer.
//!
//! Sans-IO and without memory: a caller asks again with more bytes until it is told something. Ask only for connections
//! of trusted proxies, since anybody can write a header. What follows the header is the connection's own, of whatever
//! protocol; no header at all is [`Parsed::Absent`], and whether that is allowed is the caller's to say.
//!
//! Where the specification leaves room: transports that are no TCP (UDP, Unix sockets) have no source that could be
//! used here, and count as unknown. TLVs are skipped unread, the checksum too: TCP has one. Of a version 1 header every
//! field is checked, but UNKNOWN may be followed by anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

/// Longest header of version 1 with its CRLF.
pub const V1_BYTES_MAX: usize = 107;

/// Longest header of version 2 that is taken. The specification promises 536 bytes to fit in one segment; what is
/// beyond those and the fixed part is no header that a load balancer sends.
pub const V2_BYTES_MAX: usize = V2_FIXED + 536;

const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before the addresses.
const V2_FIXED: usize = 16;

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header, as far as one can tell; come again with more. At the end of a connection: absent.
    Partial,
    /// No header: all bytes are the connection's own.
    Absent,
    /// A whole header of `bytes` bytes.
    Complete {
        /// Who calls; none if the proxy does not know or speaks for itself. Then it is the peer of the socket.
        source: Option<SocketAddr>,
        bytes: usize,
    },
}

/// A header that begins and is none: where the connection's own bytes begin is unknown, so it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Longer than [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`].
    TooLong,
    /// Not what the specification says; the text says what.
    Malformed(&'static str),
}

impl Fault {
    /// One sentence for a log line.
    pub fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "a PROXY header is too long",
            Self::Malformed(what) => what,
        }
    }
}

/// Looks for a header at the start of `input`, the first bytes of a connection. Takes [`V2_BYTES_MAX`] bytes at most
/// to come to an end.
///
/// # Errors
/// The [`Fault`] that ends the connection.
pub fn parse(input: &[u8]) -> Result<Parsed, Fault> {
    if let Some(rest) = input.strip_prefix(V1_START) {
        v1(rest)
    } else if input.starts_with(V2_START) {
        v2(input)
    } else if V1_START.starts_with(input) || V2_START.starts_with(input) {
        Ok(Parsed::Partial)
    } else {
        Ok(Parsed::Absent)
    }
}

fn v1(rest: &[u8]) -> Result<Parsed, Fault> {
    let within = &rest[..rest.len().min(V1_BYTES_MAX - V1_START.len())];
    let Some(end) = memchr(b'\n', within) else {
        let is_full = V1_START.len() + within.len() == V1_BYTES_MAX;
        return if is_full { Err(Fault::TooLong) } else { Ok(Parsed::Partial) };
    };
    let line =
        within[..end].strip_suffix(b"\r").ok_or(Fault::Malformed("a PROXY line must end with CRLF"))?;
    Ok(Parsed::Complete { source: v1_source(line)?, bytes: V1_START.len() + end + 1 })
}

/// The line behind `PROXY `: protocol, source, destination, their ports.
fn v1_source(line: &[u8]) -> Result<Option<SocketAddr>, Fault> {
    const FIELDS: Fault = Fault::Malformed("a PROXY line has a protocol, two addresses and two ports");
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| FIELDS)?;
    let mut fields = line.split(' ');
    let mut next = || fields.next().ok_or(FIELDS);
    let (protocol, source, destination) = (next()?, next()?, next()?);
    let (port, to_port) = (v1_port(next()?)?, v1_port(next()?)?);
    let is_over = fields.next().is_none();
    let address: fn(&str) -> Option<IpAddr> = match protocol {
        "TCP4" => |text| text.parse().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse().ok().map(IpAddr::V6),
        _ => return Err(Fault::Malformed("a PROXY line is for TCP4, TCP6 or UNKNOWN")),
    };
    match (address(source), address(destination), port, to_port) {
        (Some(source), Some(_), port, _) if is_over => Ok(Some(SocketAddr::new(source, port))),
        _ => Err(FIELDS),
    }
}

/// Decimal digits, no sign and no leading zero.
fn v1_port(text: &str) -> Result<u16, Fault> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let port = if is_plain { text.parse().ok() } else { None };
    port.ok_or(Fault::Malformed("a port of a PROXY line is not a number up to 65535"))
}

/// Checks each byte as soon as it is there, in their order: a fault never depends on what comes after it.
fn v2(input: &[u8]) -> Result<Parsed, Fault> {
    let Some(&version_command) = input.get(12) else { return Ok(Parsed::Partial) };
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault::Malformed("a PROXY header has an unknown version or command")),
    };
    let Some(&family) = input.get(13) else { return Ok(Parsed::Partial) };
    // LOCAL is the proxy's own connection (a health check): whatever else is said is to be discarded.
    let addresses = match (is_local, family >> 4, family & 0x0f) {
        (true, ..) => Addresses::Unknown(0),
        (_, 1, 1) => Addresses::V4,
        (_, 2, 1) => Addresses::V6,
        (_, 1, 0 | 2) => Addresses::Unknown(12),
        (_, 2, 0 | 2) => Addresses::Unknown(36),
        (_, 3, 0..=2) => Addresses::Unknown(216),
        (_, 0, 0..=2) => Addresses::Unknown(0),
        _ => return Err(Fault::Malformed("a PROXY header has an unknown address family or transport")),
    };
    let Some(length) = input.get(14..V2_FIXED) else { return Ok(Parsed::Partial) };
    let bytes = V2_FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if bytes > V2_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    if bytes < V2_FIXED + addresses.bytes() {
        return Err(Fault::Malformed("a PROXY header is too short for its addresses"));
    }
    let Some(body) = input.get(V2_FIXED..bytes) else { return Ok(Parsed::Partial) };
    Ok(Parsed::Complete { source: addresses.source(body), bytes })
}

/// The address block of version 2, by its family.
enum Addresses {
    V4,
    V6,
    /// Nothing that would be a source here, in so many bytes.
    Unknown(usize),
}

impl Addresses {
    fn bytes(&self) -> usize {
        match self {
            Self::V4 => 12,
            Self::V6 => 36,
            Self::Unknown(bytes) => *bytes,
        }
    }

    /// Source address, destination address, source port, destination port.
    fn source(&self, body: &[u8]) -> Option<SocketAddr> {
        let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
        match self {
            Self::V4 => {
                Some((Ipv4Addr::from_bits(u32::from_be_bytes(*body.first_chunk()?)), port(8)?).into())
            }
            Self::V6 => {
                Some((Ipv6Addr::from_bits(u128::from_be_bytes(*body.first_chunk()?)), port(32)?).into())
            }
            Self::Unknown(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
