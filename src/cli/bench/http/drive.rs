//! Connections in motion: threads that each serve many by `poll`, as a thread a connection would take more of the
//! machine than the gateway under test.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Load;
use super::client::{Client, Tally};
use super::requests::Requests;
use crate::cli::bench::plan::Clock;
use crate::cli::bench::process;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the last connection to the first request, so that all threads stand ready.
const LEAD_IN: Duration = Duration::from_millis(20);
/// Connections a thread.
const SHARE: usize = 512;
const READ_BYTES: usize = 64 << 10;
/// Longest sleep with nothing due.
const GLANCE_NS: u64 = 100_000_000;

/// Opens the connections and drives them to the end of the load.
///
/// Errors: a connection cannot be opened or a thread not be started.
pub fn run(load: &Load, requests: &Requests) -> Result<(Tally, Clock), String> {
    // Threads inherit it: sleeps end when due, not up to 50 us later. Best effort, the default only blurs.
    let _ = std::fs::write("/proc/self/timerslack_ns", "1");
    let _ = rlimit::increase_nofile_limit(u64::from(load.plan.connections) + 64); // who fails says so
    let open = |i| -> std::io::Result<(TcpStream, Client)> {
        let stream = TcpStream::connect_timeout(&load.addr, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok((stream, Client::new(i, load)))
    };
    let opened: Result<Vec<_>, _> = (0..load.plan.connections).map(open).collect();
    let mut rest = opened.map_err(|e| format!("--addr {}: {e}", load.addr))?;
    let clock = Clock::starting(Instant::now() + LEAD_IN);
    let mut sum = Tally::new();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        while !rest.is_empty() {
            let (streams, clients) = rest.split_off(rest.len().saturating_sub(SHARE)).into_iter().unzip();
            let name = std::thread::Builder::new().name("bench-http".into());
            let thread =
                name.spawn_scoped(scope, move || Driver { load, requests, clock }.drive(streams, clients));
            threads.push(thread.map_err(|e| format!("no thread for connections: {e}"))?);
        }
        for thread in threads {
            sum.add(thread.join().map_err(|_| "a thread of the load panicked".to_owned())?);
        }
        Ok::<_, String>(())
    })?;
    Ok((sum, clock))
}

struct Driver<'a> {
    load: &'a Load,
    requests: &'a Requests,
    clock: Clock,
}

impl Driver<'_> {
    fn drive(&self, streams: Vec<TcpStream>, mut clients: Vec<Client>) -> Tally {
        let Self { load, requests, clock } = self;
        let mut tally = Tally::new();
        let mut buffer = vec![0; READ_BYTES];
        let settle_ns = u64::try_from(load.plan.settle.as_nanos()).unwrap_or(u64::MAX);
        let end_ns = load.plan.sending_ns().saturating_add(settle_ns);
        clock.sleep_until(0);
        let mut last_end_ns = end_ns;
        loop {
            let now_ns = clock.now_ns();
            let (mut wake_ns, mut fds, mut whose) = (now_ns + GLANCE_NS, Vec::new(), Vec::new());
            let mut all_begun = true;
            for (at, (client, stream)) in clients.iter_mut().zip(&streams).enumerate() {
                let next_ns = client.begin(load, requests, now_ns, &mut tally);
                wake_ns = wake_ns.min(next_ns.unwrap_or(u64::MAX));
                if let Err(fault) = write(client, stream) {
                    fail(client, &mut tally, fault.to_string());
                }
                if client.is_over {
                    continue;
                }
                all_begun &= client.has_begun_all();
                let pending = !client.out.is_empty();
                let wanted = if pending { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                fds.push(PollFd::new(stream, wanted));
                whose.push(at);
            }
            if all_begun && last_end_ns == end_ns {
                last_end_ns = end_ns.min(now_ns.saturating_add(settle_ns));
            }
            if fds.is_empty() || now_ns >= last_end_ns {
                break;
            }
            let timeout = Timespec::try_from(Duration::from_nanos(wake_ns.saturating_sub(now_ns)));
            // Interrupted: the next round looks again.
            let _ = rustix::event::poll(&mut fds, timeout.ok().as_ref());
            for (fd, at) in fds.iter().zip(&whose) {
                if fd.revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.read(&streams[*at], &mut clients[*at], &mut buffer, &mut tally);
                }
            }
        }
        tally.own_cpu_ns = process::thread_cpu_ns();
        tally
    }

    fn read(&self, mut stream: &TcpStream, client: &mut Client, buffer: &mut [u8], tally: &mut Tally) {
        let read = match stream.read(buffer) {
            Ok(0) => return fail(client, tally, "the peer closed the connection".into()),
            Ok(read) => read,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(e) => return fail(client, tally, e.to_string()),
        };
        if let Err(fault) = client.hear(&buffer[..read], self.load.batch, self.clock.now_ns(), tally) {
            fail(client, tally, fault.into());
        }
    }
}

/// The connection is of no further use; what was in flight stays without an answer.
fn fail(client: &mut Client, tally: &mut Tally, fault: String) {
    client.is_over = true;
    tally.faults.push(fault);
}

fn write(client: &mut Client, mut stream: &TcpStream) -> std::io::Result<()> {
    while client.written < client.out.len() {
        match stream.write(&client.out[client.written..]) {
            Ok(written) => client.written += written,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    client.out.clear();
    client.written = 0;
    Ok(())
}
