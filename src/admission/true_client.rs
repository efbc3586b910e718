//! Who a peer really is when proxies stand in between.
//!
//! Each proxy appends the address that it was called from to `X-Forwarded-For`; everything left of that is what it was
//! told, by whomever. So the list is read from its right end, and only as far as trusted proxies vouch for it: the
//! first address that is not one of them is the client. The left end, which others read, is the client's to invent.
//!
//! Only this one header is read. A proxy that sets it passes RFC 7239's `Forwarded` on as the client sent it, and to
//! believe whichever is there would be to believe the client.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Most addresses of a list that are looked at. A longer chain of trusted proxies is a loop or a fake.
pub const HOPS_MAX: usize = 16;

/// TRUSTED_PROXIES: addresses and networks whose word about their peer is taken. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Block>);

/// An entry of the list that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntry {
    /// The entry as it was given.
    pub entry: String,
    /// What would be right, to be read after "expected".
    pub right: &'static str,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: expected {}", self.entry, self.right)
    }
}

impl std::error::Error for BadEntry {}

impl TrustedProxies {
    /// Reads a list with commas: `10.0.0.0/8, 192.0.2.7, fd00::/8`. Nothing at all is a list of none.
    ///
    /// # Errors
    /// The first entry that is neither an address nor a network.
    pub fn parse(list: &str) -> Result<Self, BadEntry> {
        if list.trim().is_empty() {
            return Ok(Self::default());
        }
        list.split(',').map(|entry| Block::parse(entry.trim())).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|block| block.contains(address))
    }
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    base: IpAddr,
    prefix: u32,
}

impl Block {
    fn parse(entry: &str) -> Result<Self, BadEntry> {
        let bad = |right| BadEntry { entry: entry.to_owned(), right };
        let (address, prefix) = match entry.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (entry, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| bad("an address or a network such as 10.0.0.0/8 or fd00::/8"))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().unwrap_or(u32::MAX)
            }
            Some(_) => u32::MAX,
        };
        if prefix > width {
            let right =
                if width == 32 { "a prefix length from 0 to 32" } else { "a prefix length from 0 to 128" };
            return Err(bad(right));
        }
        // Peers are compared in canonical form, and so is this: ::ffff:10.0.0.0/104 is 10.0.0.0/8.
        let block = match address.to_canonical() {
            base if base.is_ipv4() && width == 128 && prefix >= 96 => Self { base, prefix: prefix - 96 },
            _ => Self { base: address, prefix },
        };
        if block.is_base_clean() { Ok(block) } else { Err(bad("no bits set beyond the prefix length")) }
    }

    /// Bits behind the prefix are a slip of the pen, in the address or in the length: which of them, nobody knows.
    fn is_base_clean(&self) -> bool {
        match self.base {
            IpAddr::V4(base) => base.to_bits().checked_shl(self.prefix).unwrap_or(0) == 0,
            IpAddr::V6(base) => base.to_bits().checked_shl(self.prefix).unwrap_or(0) == 0,
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= self.prefix,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= self.prefix,
            _ => false,
        }
    }
}

/// The address to hold a request against: the peer's own, or the one that trusted proxies vouch for.
///
/// `forwarded_for` are the values of all `X-Forwarded-For` lines in the order of the head; they are one list. What is
/// no address ends the walk, and the last address that was believed stands: the proxy that passed the garbage on. If
/// all are trusted the leftmost stands. The answer is canonical, so an IPv4 address is never in IPv6 clothes.
pub fn true_client<'h>(
    peer: IpAddr,
    trusted: &TrustedProxies,
    forwarded_for: impl DoubleEndedIterator<Item = &'h [u8]>,
) -> IpAddr {
    let mut client = peer.to_canonical();
    let hops = forwarded_for.rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for hop in hops.take(HOPS_MAX) {
        if !trusted.contains(client) {
            break;
        }
        let Some(address) = address_of(hop) else { break };
        client = address;
    }
    client
}

/// An address, with or without brackets, with or without a port.
fn address_of(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        None => hop.parse().ok().or_else(|| hop.parse().ok().map(|with_port: SocketAddr| with_port.ip())),
    };
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(list: &str) -> TrustedProxies {
        TrustedProxies::parse(list).unwrap()
    }

    #[test]
    fn who_is_trusted() {
        let table = [
            ("", "", "127.0.0.1 ::1 0.0.0.0"),
            (" ", "", "127.0.0.1"),
            ("192.0.2.7", "192.0.2.7 ::ffff:192.0.2.7", "192.0.2.6 192.0.2.8 ::192.0.2.7"),
            ("10.0.0.0/8", "10.0.0.0 10.255.255.255 ::ffff:10.1.2.3", "9.255.255.255 11.0.0.0 a00::"),
            ("10.1.2.128/25,::1", "10.1.2.128 10.1.2.255 ::1", "10.1.2.127 10.1.3.0 ::2"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "1.2.3.4 255.255.255.255 ::ffff:1.2.3.4", "::1 2001:db8::"),
            ("::/0", "::1 ffff::", "1.2.3.4 ::ffff:1.2.3.4"),
            (" fd00::/8 , 2001:db8::/33 ", "fd12::1 2001:db8:7fff::", "fe00:: 2001:db8:8000::"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0 ::"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ];
        for (list, inside, outside) in table {
            let proxies = trusted(list);
            assert_eq!(proxies.is_empty(), inside.is_empty());
            for (addresses, is_inside) in [(inside, true), (outside, false)] {
                for address in addresses.split_whitespace() {
                    assert_eq!(
                        proxies.contains(address.parse().unwrap()),
                        is_inside,
                        "{address} in {list:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_bad_entry_is_named() {
        let table = [
            ("10.0.0.0/8,localhost", "localhost", "an address"),
            ("10.0.0.0/8, ,::1", "", "an address"),
            ("10.0.0.0/8,", "", "an address"),
            ("10.0.0/8", "10.0.0/8", "an address"),
            ("010.0.0.1", "010.0.0.1", "an address"),
            ("10.0.0.1:80", "10.0.0.1:80", "an address"),
            ("[::1]", "[::1]", "an address"),
            ("fe80::1%eth0", "fe80::1%eth0", "an address"),
            ("10.0.0.0/33", "10.0.0.0/33", "a prefix length from 0 to 32"),
            ("10.0.0.0/+8", "10.0.0.0/+8", "a prefix length from 0 to 32"),
            ("10.0.0.0/", "10.0.0.0/", "a prefix length from 0 to 32"),
            ("10.0.0.0/8/8", "10.0.0.0/8/8", "a prefix length from 0 to 32"),
            ("10.0.0.0/99999999999", "10.0.0.0/99999999999", "a prefix length from 0 to 32"),
            ("fd00::/129", "fd00::/129", "a prefix length from 0 to 128"),
            ("10.0.0.1/8", "10.0.0.1/8", "no bits set"),
            ("::1/0", "::1/0", "no bits set"),
            ("0.0.0.1/0", "0.0.0.1/0", "no bits set"),
            ("::ffff:10.0.0.1/104", "::ffff:10.0.0.1/104", "no bits set"),
        ];
        for (list, entry, right) in table {
            let bad = TrustedProxies::parse(list).expect_err(list);
            assert_eq!(bad.entry, entry);
            assert!(bad.right.starts_with(right), "{bad}");
        }
    }

    #[test]
    fn who_the_client_is() {
        let proxies = trusted("10.0.0.0/8, fd00::/8");
        // (peer, values of the header lines, client)
        let table: &[(&str, &[&str], &str)] = &[
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            // An untrusted peer is who it is, whatever it says.
            ("192.0.2.9", &["192.0.2.1"], "192.0.2.9"),
            ("192.0.2.9", &["10.0.0.1"], "192.0.2.9"),
            ("::ffff:192.0.2.9", &["10.0.0.1"], "192.0.2.9"),
            // From the right: what the client itself put in front of the list is not reached.
            ("10.0.0.1", &["127.0.0.1, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["10.0.0.9, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.1, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1,10.0.0.3,fd00::2,10.0.0.2"], "192.0.2.1"),
            // Several lines are one list.
            ("10.0.0.1", &["198.51.100.1", "192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.1, 192.0.2.1", "10.0.0.3, 10.0.0.2"], "192.0.2.1"),
            // All trusted: the leftmost.
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Garbage ends the walk where it stands.
            ("10.0.0.1", &["192.0.2.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["192.0.2.1, , 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["192.0.2.1", ""], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1,"], "10.0.0.1"),
            ("10.0.0.1", &["nonsense, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1 10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.256"], "10.0.0.1"),
            ("10.0.0.1", &["0300.0.2.1"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1:"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.1:65536"], "10.0.0.1"),
            ("10.0.0.1", &["[192.0.2.1]"], "10.0.0.1"),
            ("10.0.0.1", &["[2001:db8::1"], "10.0.0.1"),
            ("10.0.0.1", &["\u{0661}92.0.2.1"], "10.0.0.1"),
            // Ports, brackets, blanks, IPv4 in IPv6 clothes.
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:1, 10.0.0.2:65535"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["\t192.0.2.1 ,  10.0.0.2\t"], "192.0.2.1"),
            ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, [::ffff:10.0.0.2]:80"], "192.0.2.1"),
        ];
        for (peer, values, client) in table {
            let found = true_client(peer.parse().unwrap(), &proxies, values.iter().map(|v| v.as_bytes()));
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {values:?}");
        }
        let found = true_client([10, 0, 0, 1].into(), &proxies, [&b"1.2.3.4\xff"[..]].into_iter());
        assert_eq!(found, IpAddr::from([10, 0, 0, 1]), "not even text");
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        let found =
            true_client([10, 0, 0, 1].into(), &TrustedProxies::default(), [&b"1.2.3.4"[..]].into_iter());
        assert_eq!(found, IpAddr::from([10, 0, 0, 1]));
    }

    /// A head full of trusted addresses is looked at no further than a chain can reach.
    #[test]
    fn the_walk_has_an_end() {
        let chain = |hops: usize| format!("192.0.2.1{}", ",10.0.0.2".repeat(hops - 1));
        let client = |hops: usize| {
            true_client([10, 0, 0, 1].into(), &trusted("10.0.0.0/8"), [chain(hops).as_bytes()].into_iter())
        };
        assert_eq!(client(HOPS_MAX), IpAddr::from([192, 0, 2, 1]));
        assert_eq!(client(HOPS_MAX + 1), IpAddr::from([10, 0, 0, 2]));
    }
}
