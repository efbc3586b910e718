//! How many connections one address may hold.
//!
//! An address has an entry only while it has a connection, so the table needs no more entries than there may be
//! connections. Should it be smaller and full, a new address is refused like one that has too many: a limit that is
//! forgotten under load is none.

use super::network::Network;
use super::table::Table;

/// How many connections are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapOptions {
    /// Connections of one address (IPv6: of one /64); 0 counts as 1.
    pub per_address: u32,
    /// Addresses with connections; as many as there may be connections is enough.
    pub capacity: usize,
}

impl Default for CapOptions {
    /// A sixteenth of the connections that there may be, so that no address can have them all.
    fn default() -> Self {
        Self { per_address: 1_024, capacity: 16_384 }
    }
}

/// Open connections by address.
#[derive(Debug)]
pub struct ConnectionCaps {
    counts: Table<Network, u32>,
    per_address: u32,
}

impl ConnectionCaps {
    pub fn new(options: &CapOptions) -> Self {
        Self { counts: Table::new(options.capacity), per_address: options.per_address.max(1) }
    }

    /// Bytes that the counts take, at most and from the start.
    pub fn bytes(options: &CapOptions) -> usize {
        Table::<Network, u32>::bytes(options.capacity)
    }

    /// Whether `address` may have one more connection.
    pub fn has_place(&self, address: Network) -> bool {
        match self.counts.find(&address) {
            Some(place) => *self.counts.get(place) < self.per_address,
            None => self.counts.len() < self.counts.capacity(),
        }
    }

    /// Counts one more connection of `address` if it may have one. Every `true` is owed one [`leave`](Self::leave).
    #[must_use]
    pub fn enter(&mut self, address: Network) -> bool {
        let Some(place) = self.counts.find(&address).or_else(|| self.counts.insert(address)) else {
            return false;
        };
        let count = self.counts.value(place);
        let may_enter = *count < self.per_address;
        *count += u32::from(may_enter);
        may_enter
    }

    /// A connection that had entered is gone.
    pub fn leave(&mut self, address: Network) {
        let Some(place) = self.counts.find(&address) else {
            debug_assert!(false, "{address} leaves and never entered");
            return;
        };
        let count = self.counts.value(place);
        *count -= 1;
        if *count == 0 {
            self.counts.remove(place);
        }
    }

    /// Addresses with connections; a gauge.
    pub fn addresses(&self) -> usize {
        self.counts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn an_address_holds_its_share_and_no_more() {
        let mut caps = ConnectionCaps::new(&CapOptions { per_address: 2, capacity: 2 });
        let [a, b, c] = [1, 2, 3].map(Network::V4);
        assert!(caps.enter(a) && caps.enter(a) && !caps.enter(a));
        assert!(caps.enter(b), "others are not touched by a full address");
        assert!(!caps.enter(c), "a full table lets no new address in");
        caps.leave(b);
        assert!(caps.enter(c));
        caps.leave(a);
        assert!(caps.enter(a) && !caps.enter(a));
    }

    #[test]
    fn one_slash_64_is_one_address() {
        let mut caps = ConnectionCaps::new(&CapOptions { per_address: 1, ..CapOptions::default() });
        let of = |address: &str| Network::from(address.parse::<std::net::IpAddr>().unwrap());
        assert!(caps.enter(of("2001:db8::1")) && !caps.enter(of("2001:db8::2")));
        assert!(caps.enter(of("2001:db8:0:1::1")));
    }

    #[test]
    fn it_counts_like_a_map() {
        let options = CapOptions { per_address: 3, capacity: 5 };
        let (mut caps, mut counts) = (ConnectionCaps::new(&options), HashMap::new());
        let mut random = fastrand::Rng::with_seed(3);
        let mut refused = 0;
        for _ in 0..50_000 {
            let address = random.u32(..8);
            let count = counts.get(&address).copied().unwrap_or(0);
            if random.u32(..5) < 3 {
                let may_enter = count < 3 && (count > 0 || counts.len() < 5);
                assert_eq!(caps.has_place(Network::V4(address)), may_enter);
                assert_eq!(caps.enter(Network::V4(address)), may_enter);
                refused += u32::from(!may_enter);
                if may_enter {
                    counts.insert(address, count + 1);
                }
            } else if count > 0 {
                caps.leave(Network::V4(address));
                counts.insert(address, count - 1);
                counts.retain(|_, count| *count > 0);
            }
            assert_eq!(caps.addresses(), counts.len());
        }
        assert!(refused > 1_000);
    }
}
