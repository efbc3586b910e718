//! `send` without answers: bytes to the gateway as they are.
//!
//! Owns one connection. Half-closes after the last byte and waits for the peer's close, because only that says
//! that the peer has read to the end; a reset instead means that some bytes were not taken. Never claims that a
//! line is stored.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use indicatif::ProgressBar;

use super::{Args, Input, connect, patience};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
const CHUNK_BYTES: usize = 64 * 1024;

/// Sends everything. Errors, in words: how far it came and why it ended.
pub(super) fn run(args: &Args, mut input: Input, bar: &ProgressBar) -> Result<String, String> {
    let stream = connect(&args.addr, CONNECT).map_err(|error| format!("{}: {error}", args.addr))?;
    let settings = stream.set_write_timeout(patience(args.timeout));
    settings.and_then(|()| stream.set_read_timeout(patience(args.timeout))).map_err(|e| e.to_string())?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut taken = 0u64;
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("the input broke off after {taken} bytes: {error}")),
        };
        (&stream).write_all(&chunk[..read]).map_err(|error| {
            format!("the gateway stopped taking bytes after about {taken}: {}", reason(&error, args.timeout))
        })?;
        taken += read as u64;
        bar.set_position(taken);
    }
    stream.shutdown(Shutdown::Write).map_err(|error| error.to_string())?;
    wait_for_close(&stream, &mut chunk).map_err(|error| {
        format!(
            "{taken} bytes were sent, but it is not sure that all were taken: {}",
            reason(&error, args.timeout)
        )
    })?;
    Ok(format!("bytes={taken} taken; whether each line is stored is not known without --ack"))
}

fn wait_for_close(mut stream: &TcpStream, scratch: &mut [u8]) -> io::Result<()> {
    loop {
        match stream.read(scratch) {
            Ok(0) => return Ok(()),
            Ok(_) => {} // a silent gateway by agreement; whatever this is, it is not for us
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn reason(error: &io::Error, timeout: Duration) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("nothing happened for {}", humantime::format_duration(timeout))
        }
        _ => error.to_string(),
    }
}
