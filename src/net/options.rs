//! Where to listen, and what a peer may take.

use std::net::SocketAddr;

use crate::admission::AdmissionOptions;

/// Sockets and their limits. `None` for an address means that the listener is off; port 0 takes a free one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetOptions {
    pub tcp: Option<SocketAddr>,
    pub http: Option<SocketAddr>,
    pub health: Option<SocketAddr>,
    /// Connections at once over all listeners; beyond it the kernel's accept queue holds them.
    pub max_connections: usize,
    /// SO_RCVBUF of a connection in bytes: what the kernel may hold for us while we pause.
    pub recv_buffer_bytes: usize,
    /// Bytes of incomplete messages held over all connections; beyond it they stay in the kernel.
    pub partial_bytes: usize,
    /// Trusted proxies, rate limit, connections of one address.
    pub admission: AdmissionOptions,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            tcp: Some(SocketAddr::from(([0, 0, 0, 0], 7000))),
            http: cfg!(feature = "http").then_some(SocketAddr::from(([0, 0, 0, 0], 8080))),
            health: Some(SocketAddr::from(([0, 0, 0, 0], 7001))),
            max_connections: 16_384,
            recv_buffer_bytes: 256 << 10,
            partial_bytes: 16 << 20,
            admission: AdmissionOptions::default(),
        }
    }
}
