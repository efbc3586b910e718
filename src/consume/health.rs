//! `/health`, `/ready` and the metrics of a consumer, over HTTP/1.1 on a thread of its own.
//!
//! Owns a listener and at most [`CONNECTIONS_MAX`] short-lived threads; each serves requests until its peer is silent
//! for [`PATIENCE`]. A probe never waits for the loop: everything it is told stands on the board.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::board::Board;
use crate::handoff::lock;
use crate::metrics::consumer_prometheus;
use crate::wire::http1::{self, HEADERS_MAX, Head, HeaderSlots, Limits, Method, Parsed, Response};

/// Connections served at once; further ones are closed.
const CONNECTIONS_MAX: usize = 16;
/// How long a peer may be silent, and how long it may take to read an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest request head.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Requests over one connection.
const REQUESTS_MAX: usize = 1000;

const LIMITS: Limits = Limits { head_bytes: HEAD_BYTES_MAX, headers: HEADERS_MAX };
const HEADERS: &[(&str, &str)] = &[("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")];
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What is served.
#[derive(Clone)]
pub struct Pages {
    pub consumer: &'static str,
    pub metrics_path: Option<String>,
    pub board: Arc<Board>,
}

/// Starts listening, and gives the address that it got. The thread ends with the process.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(address: SocketAddr, pages: Pages) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    let bound = listener.local_addr()?;
    let open = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("sluice-health".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            if open.fetch_add(1, SeqCst) >= CONNECTIONS_MAX {
                open.fetch_sub(1, SeqCst);
                continue;
            }
            let (pages, place) = (pages.clone(), Place(Arc::clone(&open)));
            // Without a thread the connection is closed, and its place is free again.
            let _ = thread::Builder::new().name("sluice-probe".into()).spawn(move || {
                let _place = place;
                // A peer that has gone is no failure of ours.
                let _ = serve(stream, &pages);
            });
        }
    })?;
    Ok(bound)
}

/// One of the connections served at once.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn serve(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut input, mut chunk) = (Vec::new(), [0; 1024]);
    for _ in 0..REQUESTS_MAX {
        let mut out = Vec::new();
        let keep_alive = loop {
            match http1::parse_head(&input, &LIMITS, &mut HeaderSlots::new()) {
                Ok(Parsed::Complete(head, bytes)) => {
                    let keep_alive = head.keep_alive && !head.framing.has_body();
                    answer(&head, keep_alive, pages, &mut out);
                    input.drain(..bytes);
                    break keep_alive;
                }
                Ok(Parsed::Partial) => match stream.read(&mut chunk)? {
                    0 => return Ok(()),
                    read => input.extend_from_slice(&chunk[..read]),
                },
                Err(fault) => {
                    let body = fault.detail().as_bytes();
                    let status = fault.status();
                    respond(status, TEXT, body, (false, false, false), &mut out);
                    break false;
                }
            }
        };
        stream.write_all(&out)?;
        if !keep_alive {
            break;
        }
    }
    Ok(())
}

fn answer(head: &Head<'_>, keep_alive: bool, pages: &Pages, out: &mut Vec<u8>) {
    let mut body = String::new();
    let (status, content_type) = if !matches!(head.method, Method::Get | Method::Head) {
        body.push_str("only GET and HEAD are served here\n");
        (405, TEXT)
    } else {
        page(head.path, pages, &mut body)
    };
    let is_head = head.method == Method::Head;
    respond(status, content_type, body.as_bytes(), (keep_alive, is_head, head.http10), out);
}

fn respond(
    status: u16,
    content_type: &str,
    body: &[u8],
    (keep_alive, head_only, http10): (bool, bool, bool),
    out: &mut Vec<u8>,
) {
    Response { status, content_type, headers: HEADERS, body, keep_alive, head_only, http10 }.write(out);
}

fn page(path: &str, pages: &Pages, body: &mut String) -> (u16, &'static str) {
    let board = &pages.board;
    match path {
        "/health" if board.is_alive() => body.push_str("{\"status\":\"OK\"}\n"),
        "/health" => {
            body.push_str("{\"status\":\"stuck\"}\n");
            return (503, JSON);
        }
        "/ready" => {
            let state = board.state();
            let partitions = lock(&board.positions).len();
            let lag: i64 = board.lag().iter().map(|(_, records)| records).sum();
            body.push_str(&format!(
                "{{\"status\":\"{state}\",\"consumer\":\"{}\",\"partitions\":{partitions},\"lag_records\":{lag}}}\n",
                pages.consumer
            ));
            return (if state == "ready" { 200 } else { 503 }, JSON);
        }
        path if pages.metrics_path.as_deref() == Some(path) => {
            consumer_prometheus(&board.snapshot(pages.consumer), body);
            return (200, METRICS);
        }
        _ => {
            body.push_str("no such page: /health, /ready and the metrics are here\n");
            return (404, TEXT);
        }
    }
    (200, JSON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    fn pages() -> Pages {
        Pages {
            consumer: "event-log",
            metrics_path: Some("/metrics".into()),
            board: Arc::new(Board::default()),
        }
    }

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn probes_and_metrics_are_served() {
        let pages = pages();
        let board = Arc::clone(&pages.board);
        let address = listen("127.0.0.1:0".parse().unwrap(), pages).unwrap();
        let get = |path: &str| {
            ask(address, &format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
        };
        assert!(get("/health").starts_with("HTTP/1.1 503 "));
        board.turn();
        assert!(get("/health").contains("\r\n\r\n{\"status\":\"OK\"}"));
        assert!(get("/ready").starts_with("HTTP/1.1 503 ") && get("/ready").contains("\"starting\""));
        board.is_started.store(true, Relaxed);
        let ready = get("/ready");
        let body = "{\"status\":\"ready\",\"consumer\":\"event-log\",\"partitions\":0,\"lag_records\":0}";
        assert!(ready.starts_with("HTTP/1.1 200 ") && ready.contains(body), "{ready}");
        assert!(get("/metrics").contains("consumer_ready{consumer=\"event-log\"} 1\n"));
        assert!(get("/other").starts_with("HTTP/1.1 404 "));
        let post = "POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx";
        assert!(ask(address, post).starts_with("HTTP/1.1 405 "));
        assert!(ask(address, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
        let two = ask(address, "HEAD /health HTTP/1.1\r\nHost: h\r\n\r\nGET /health HTTP/1.0\r\n\r\n");
        assert_eq!(two.matches("HTTP/1.1 200 ").count(), 2, "{two}");
    }
}
