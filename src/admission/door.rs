//! The door of the gateway: everything that a listener asks about a peer, in one place.
//!
//! Owns the limiter, the caps and the list of trusted proxies, as far as they are on. What is off costs nothing.

use std::net::IpAddr;

use super::{
    CapOptions, ConnectionCaps, Limiter, LimiterOptions, Network, TrustedProxies, Verdict, true_client,
};

/// What is asked of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// TRUSTED_PROXIES.
    pub trusted: TrustedProxies,
    /// RATE_LIMIT_ENABLED, RATE_LIMIT_RPS, RATE_LIMIT_BURST; none: no limit.
    pub limiter: Option<LimiterOptions>,
    /// MAX_CONNECTIONS_PER_ADDRESS; none: no cap.
    pub caps: Option<CapOptions>,
}

impl AdmissionOptions {
    /// Bytes that the tables take, from the start.
    pub fn bytes(&self) -> usize {
        self.limiter.as_ref().map_or(0, Limiter::<Network>::bytes)
            + self.caps.as_ref().map_or(0, ConnectionCaps::bytes)
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Door {
    trusted: TrustedProxies,
    limiter: Option<Limiter<Network>>,
    caps: Option<ConnectionCaps>,
    limited: u64,
}

impl Door {
    pub fn new(options: &AdmissionOptions) -> Self {
        Self {
            trusted: options.trusted.clone(),
            limiter: options.limiter.as_ref().map(Limiter::new),
            caps: options.caps.as_ref().map(ConnectionCaps::new),
            limited: 0,
        }
    }

    /// Whether this peer's word about others is taken.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        !self.trusted.is_empty() && self.trusted.contains(peer)
    }

    /// Whether this peer may have one more connection. A trusted proxy may have any number: its clients are counted,
    /// where it names them before the first byte.
    pub fn has_place(&self, peer: IpAddr) -> bool {
        self.trusts(peer) || self.caps.as_ref().is_none_or(|caps| caps.has_place(peer.into()))
    }

    /// Counts a connection of a peer that [`has_place`](Self::has_place); what [`leave`](Self::leave) is owed.
    pub fn enter(&mut self, peer: IpAddr) -> Option<Network> {
        if self.trusts(peer) {
            return None;
        }
        let network = Network::from(peer);
        self.caps.as_mut().filter(|caps| caps.has_place(network))?.enter(network).then_some(network)
    }

    /// A connection is gone.
    pub fn leave(&mut self, counted: Option<Network>) {
        if let (Some(caps), Some(network)) = (&mut self.caps, counted) {
            caps.leave(network);
        }
    }

    /// Whom a request of `peer` is held against; `forwarded_for` as in [`true_client`].
    pub fn client<'h>(
        &self,
        peer: IpAddr,
        forwarded_for: impl DoubleEndedIterator<Item = &'h [u8]>,
    ) -> Network {
        match self.trusted.is_empty() {
            true => peer.into(),
            false => true_client(peer, &self.trusted, forwarded_for).into(),
        }
    }

    /// Takes one token for a request of `client`; if there is none, whole seconds to wait for one.
    pub fn allow(&mut self, client: Network, now_us: u64) -> Result<(), u32> {
        match self.limiter.as_mut().map(|limiter| limiter.allow(client, 1, now_us)) {
            None | Some(Verdict::Go) => Ok(()),
            Some(Verdict::Wait { retry_after_us }) => {
                self.limited += 1;
                Err(u32::try_from(retry_after_us.div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1))
            }
        }
    }

    /// Requests that found no token.
    pub fn limited(&self) -> u64 {
        self.limited
    }

    /// See [`Limiter::crowded_out`].
    pub fn crowded_out(&self) -> u64 {
        self.limiter.as_ref().map_or(0, Limiter::crowded_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn door(trusted: &str) -> Door {
        Door::new(&AdmissionOptions {
            trusted: TrustedProxies::parse(trusted).unwrap(),
            limiter: Some(LimiterOptions { per_second: 1, burst: 2, capacity: 4 }),
            caps: Some(CapOptions { per_address: 1, capacity: 4 }),
        })
    }

    #[test]
    fn what_is_off_lets_everybody_in() {
        let mut door = Door::new(&AdmissionOptions::default());
        for _ in 0..10_000 {
            assert!(door.has_place(ip("192.0.2.1")));
            assert_eq!(door.enter(ip("192.0.2.1")), None);
            assert_eq!(door.allow(Network::V4(1), 0), Ok(()));
        }
        assert_eq!((door.limited(), AdmissionOptions::default().bytes()), (0, 0));
    }

    #[test]
    fn tokens_come_back_with_time() {
        let mut door = door("");
        let client = door.client(ip("192.0.2.1"), [&b"198.51.100.1"[..]].into_iter());
        assert_eq!(client, ip("192.0.2.1").into(), "nobody is trusted");
        assert_eq!((door.allow(client, 1), door.allow(client, 1)), (Ok(()), Ok(())));
        assert_eq!(door.allow(client, 1), Err(1), "a burst of two");
        assert_eq!(door.allow(ip("192.0.2.2").into(), 1), Ok(()), "others are not touched");
        assert_eq!(door.allow(client, 1_000_001), Ok(()));
        assert_eq!(door.limited(), 1);
    }

    #[test]
    fn trusted_proxies_are_not_counted_and_their_clients_are() {
        let mut door = door("10.0.0.0/8");
        let proxy = ip("10.0.0.1");
        assert!(door.trusts(proxy) && door.enter(proxy).is_none() && door.has_place(proxy));
        let client = ip("192.0.2.1");
        let counted = door.enter(client);
        assert_eq!(counted, Some(client.into()));
        assert!(!door.has_place(client) && door.enter(client).is_none());
        door.leave(counted);
        assert!(door.has_place(client));
        let values = [&b"203.0.113.9, 192.0.2.1"[..], b"10.0.0.2"];
        assert_eq!(
            door.client(proxy, values.into_iter()),
            client.into(),
            "the left end is the client's to invent"
        );
        assert_eq!(door.client(ip("192.0.2.7"), values.into_iter()), ip("192.0.2.7").into());
    }
}
