//! A small HTTP/1.1 client over a plain socket: what it sends is what the test wrote, byte for byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::PATIENCE;

/// A connection, and what was read of it and not used yet.
pub struct Http {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The answer at the front of `read`, taken out, if all of it is there. `has_body`: it is none to HEAD.
    pub fn take(read: &mut Vec<u8>, has_body: bool) -> Option<Answer> {
        let end = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&read[..end]).expect("a head in UTF-8");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header line"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status: status.expect("a number"), headers, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let length = if has_body { length } else { 0 };
        let body = read.get(end..end + length)?.to_vec();
        answer.body = String::from_utf8(body).expect("a body in UTF-8");
        read.drain(..end + length);
        Some(answer)
    }

    /// A header's value, by name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it says that the connection ends behind it.
    pub fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The member `code` of a problem body, after a look at the rest of it (RFC 9457).
    #[track_caller]
    pub fn code(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        assert!(problem["retryable"].is_boolean() && problem["error"].is_string(), "{self:?}");
        problem["code"].as_str().expect("a word").to_owned()
    }
}

/// A request, with `Content-Length` and `body` if it is a POST; `headers` are whole lines without their ends.
pub fn request(method: &str, target: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n").into_bytes();
    for header in headers {
        text.extend_from_slice(header.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    if method == "POST" {
        text.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    if method == "POST" {
        text.extend_from_slice(body);
    }
    text
}

/// `body` in chunks of `piece` bytes.
pub fn chunked(body: &[u8], piece: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for chunk in body.chunks(piece) {
        text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        text.extend_from_slice(chunk);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"0\r\n\r\n");
    text
}

impl Http {
    pub fn connect(address: SocketAddr) -> Http {
        Http::try_connect(address).expect("the gateway accepts")
    }

    /// A connection, if anybody listens.
    pub fn try_connect(address: SocketAddr) -> Option<Http> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Some(Http { stream, read: Vec::new() })
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the gateway takes the bytes");
    }

    /// Sends until the gateway takes no more, for peers that the gateway may cut off; whether all of it went.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing follows.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Sends one request and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, target: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.send(request(method, target, headers, body));
        match method {
            "HEAD" => self.head_answer(),
            _ => self.answer(),
        }
    }

    #[track_caller]
    pub fn post(&mut self, target: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", target, &[], body.as_ref())
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.next(true).expect("an answer")
    }

    /// The next answer, which is one to HEAD.
    #[track_caller]
    pub fn head_answer(&mut self) -> Answer {
        self.next(false).expect("an answer")
    }

    /// The next answer; `None` when the gateway ended the connection instead.
    pub fn maybe_answer(&mut self) -> Option<Answer> {
        self.next(true)
    }

    /// Waits until the gateway ends the connection in good order.
    ///
    /// # Panics
    /// When something comes before the end, or the connection is reset.
    #[track_caller]
    pub fn assert_ends(&mut self) {
        let more = self.more().expect("an end in good order");
        assert!(!more && self.read.is_empty(), "{:?}", String::from_utf8_lossy(&self.read));
    }

    /// Whether nothing comes for a while.
    #[track_caller]
    pub fn assert_silent(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let result = self.more();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let kind = result.expect_err("nothing to read").kind();
        assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind:?}");
    }

    fn next(&mut self, has_body: bool) -> Option<Answer> {
        loop {
            match Answer::take(&mut self.read, has_body) {
                Some(answer) => return Some(answer),
                None if self.more().unwrap_or(false) => {}
                None => {
                    let has_head = self.read.windows(4).any(|four| four == b"\r\n\r\n");
                    assert!(!has_head, "an answer was cut short");
                    return None;
                }
            }
        }
    }

    /// Reads on; false at the end.
    fn more(&mut self) -> std::io::Result<bool> {
        let mut area = [0; 16 << 10];
        let count = self.stream.read(&mut area)?;
        self.read.extend_from_slice(&area[..count]);
        Ok(count > 0)
    }
}
