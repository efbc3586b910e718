//! Listening sockets: their options, and accepting until nothing waits or nothing more is allowed.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, SockAddr, Socket as RawSocket, TcpKeepalive, Type};

use super::stream::Socket;

/// Connections that the kernel completes for us while we are busy.
const BACKLOG: i32 = 4096;
/// A peer that vanished without a word is noticed after about this time without traffic.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// SO_SNDBUF: answers are small, and the kernel's own tuning would keep 4 MiB for each peer that does not read them.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Pause after the kernel had no descriptor or memory left, in microseconds.
const EXHAUSTED_PAUSE_US: u64 = 100_000;
/// Connections taken in one turn at most.
const ACCEPTS_A_TURN: usize = 256;

/// One listening socket and what is known of its queue.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// The accept queue may hold somebody.
    pub is_ready: bool,
    /// No accepting before this moment (gateway's clock).
    paused_until_us: u64,
    pub accepted: u64,
    pub errors: u64,
}

/// How an attempt to accept ended.
pub enum Accepted {
    Connection(Socket),
    /// Nobody waits.
    Nobody,
    /// Descriptors or memory are used up; the listener pauses.
    Exhausted(io::Error),
}

impl Listener {
    /// Binds and listens. Both buffer sizes, no delay and keepalive are inherited by what is accepted.
    pub fn bind(address: SocketAddr, recv_buffer_bytes: usize) -> io::Result<Self> {
        let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_recv_buffer_size(recv_buffer_bytes)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_keepalive(true)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY).with_retries(3),
        )?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Self { socket, address, is_ready: true, paused_until_us: 0, accepted: 0, errors: 0 })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn source(&mut self) -> &mut TcpListener {
        &mut self.socket
    }

    /// Whether a turn of accepting makes sense now.
    pub fn wants_turn(&self, now_us: u64) -> bool {
        self.is_ready && now_us >= self.paused_until_us
    }

    /// When to try again after exhaustion.
    pub fn paused_until_us(&self) -> Option<u64> {
        self.is_ready.then_some(self.paused_until_us).filter(|at| *at > 0)
    }

    /// Descriptors may be free again.
    pub fn end_pause(&mut self) {
        self.paused_until_us = 0;
    }

    pub fn turn_size() -> usize {
        ACCEPTS_A_TURN
    }

    /// Takes one connection from the accept queue.
    pub fn accept(&mut self, now_us: u64) -> Accepted {
        loop {
            match self.socket.accept() {
                Ok((stream, peer)) => {
                    self.accepted += 1;
                    self.paused_until_us = 0;
                    return Accepted::Connection(Socket { stream, peer });
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.is_ready = false;
                        return Accepted::Nobody;
                    }
                    // The peer gave up while it waited, or a signal came: the next one may be fine.
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted => {}
                    _ => {
                        self.errors += 1;
                        self.paused_until_us = now_us + EXHAUSTED_PAUSE_US;
                        return Accepted::Exhausted(error);
                    }
                },
            }
        }
    }
}
