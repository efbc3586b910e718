//! The few things a connection does to its socket. One implementor is a socket, the other a test's pretence:
//! pauses, fairness and accounts are then simulated with the real code.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;

use mio::net::TcpStream;
use socket2::SockRef;

/// A non-blocking byte stream. All calls may fail with `WouldBlock`.
pub trait Stream {
    /// 0 = the peer has finished sending.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;
    /// Like `read`, but the bytes stay where they are.
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize>;
    /// Takes `count` bytes away that `peek` has shown.
    fn discard(&mut self, count: usize) -> io::Result<()>;
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// No more will be written.
    fn finish(&mut self) -> io::Result<()>;
    fn peer(&self) -> SocketAddr;
}

/// A TCP socket of ours.
pub struct Socket {
    pub stream: TcpStream,
    pub peer: SocketAddr,
}

impl Stream for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self.stream, into)
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.peek(into)
    }

    fn discard(&mut self, mut count: usize) -> io::Result<()> {
        let mut sink = [MaybeUninit::<u8>::uninit(); 4096];
        while count > 0 {
            let part = count.min(sink.len());
            match SockRef::from(&self.stream).recv(&mut sink[..part])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                taken => count -= taken,
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.stream, bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }
}
