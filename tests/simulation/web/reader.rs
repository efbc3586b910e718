//! Reads responses as a client would that trusts nobody: byte by byte, with no code of the gateway's.

/// One response.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// `Connection: close`.
    pub closes: bool,
    pub retry_after: Option<u32>,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// Its body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body {}", self.body.escape_ascii()))
    }
}

#[derive(Debug, Default)]
pub struct Reader {
    unread: Vec<u8>,
    /// Bytes of all responses so far.
    pub taken: usize,
}

impl Reader {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.unread.extend(bytes);
    }

    /// Nothing is left over.
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// The next whole response. `is_head`: it answers a HEAD request, and has no body whatever it says; but for 408, as
    /// that request's head has not come.
    pub fn next(&mut self, is_head: bool) -> Option<Reply> {
        let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&self.unread[..end]).expect("a response's head is text").to_owned();
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
        assert!(first.as_bytes().get(12) == Some(&b' '), "a status line needs its second blank: {first:?}");
        let mut reply =
            Reply { status, closes: false, retry_after: None, content_type: String::new(), body: Vec::new() };
        let mut length = None;
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header line: {line:?}"));
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    assert!(length.is_none(), "two lengths in {head}");
                    length = Some(value.parse::<usize>().expect("a length is a number"));
                }
                "connection" => reply.closes |= value.eq_ignore_ascii_case("close"),
                "retry-after" => reply.retry_after = Some(value.parse().expect("Retry-After in seconds")),
                "content-type" => reply.content_type = value.to_owned(),
                "transfer-encoding" => panic!("a response of ours has a length: {head}"),
                _ => {}
            }
        }
        let has_body = status >= 200 && status != 204;
        assert_eq!(length.is_some(), has_body, "whether {head} has a length");
        let length = length.filter(|_| !is_head || status == 408).unwrap_or(0);
        let whole = end + 4 + length;
        if self.unread.len() < whole {
            return None;
        }
        reply.body = self.unread[end + 4..whole].to_vec();
        self.unread.drain(..whole);
        self.taken += whole;
        Some(reply)
    }
}
