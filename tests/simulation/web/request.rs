//! Requests as bytes: good ones in every framing, and those that are refused for their head or their form.

use fastrand::Rng;

use super::body::{Body, EVENTS, Shape};
use super::post::{Ack, Post, key_text};
use super::script::{Ask, Closes, Exchange, Script, WebStyle};
use crate::truth::Truth;

/// What is refused for its head alone, whatever else is going on: the request, its status, whether that ends the
/// connection.
#[rustfmt::skip]
const REFUSED: &[(&str, u16, bool)] = &[
    ("POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 404, false),
    ("PUT /events HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 405, false),
    ("GET /api/v1/events HTTP/1.1\r\nHost: h\r\n\r\n", 405, false),
    ("POST /events?ack=perhaps HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400, false),
    ("POST /events?timeout=0ms HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", 400, false),
    ("POST /events HTTP/1.1\r\nHost: h\r\nContent-Type: image/png\r\nContent-Length: 2\r\n\r\n{}", 415, false),
    ("POST /api/v1/events HTTP/1.1\r\nHost: h\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", 415, false),
    ("OPTIONS /events HTTP/1.1\r\nHost: h\r\n\r\n", 204, false),
    ("POST /events HTTP/1.1\r\nHost: h\r\nIdempotency-Key: \t\r\nContent-Length: 2\r\n\r\n{}", 400, false),
    ("\r\nrubbish\r\n\r\n", 400, true),
    ("POST /events HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 400, true),
    ("POST /events HTTP/1.1\nHost: h\nContent-Length: 2\n\n{}", 400, true),
    ("POST /events HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true),
    ("POST /events HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\n{}", 400, true),
    ("POST /events HTTP/1.1\r\nHost : h\r\nContent-Length: 2\r\n\r\n{}", 400, true),
    ("POST /events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, true),
    ("POST /events HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\nContent-Length: 2\r\n\r\n{}", 417, true),
    ("POST /events HTTP/2.0\r\nHost: h\r\n\r\n", 505, true),
];

/// Chunks that are none; 503 if the door is closed, and then the connection ends without a word.
const BAD_CHUNKS: &[&str] =
    &["x\r\n{}\r\n0\r\n\r\n", "2\r\n{}!\r\n0\r\n\r\n", "2\n{}\r\n0\r\n\r\n", "-2\r\n{}\r\n0\r\n\r\n"];

const PAGES: &[&str] = &["GET /health", "HEAD /health/live", "GET /ready", "HEAD /ready"];

impl Script {
    /// A request for one of the gateway's own pages.
    pub(super) fn page(&mut self, rng: &mut Rng) {
        let start = self.bytes.len();
        let line = PAGES[rng.usize(..PAGES.len())];
        self.bytes.extend(format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let ask = Ask::Fixed(&[200, 503]);
        self.push(Exchange {
            is_head: line.starts_with("HEAD"),
            ..Exchange::of(start, self.bytes.len(), ask)
        });
    }

    pub(super) fn refused(&mut self, rng: &mut Rng) {
        let start = self.bytes.len();
        if rng.u32(..8) == 0 {
            self.bytes.extend(b"POST /events HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
            self.bytes.extend(BAD_CHUNKS[rng.usize(..BAD_CHUNKS.len())].as_bytes());
            let ask = Ask::Fixed(&[400, 429, 503]);
            let end = self.bytes.len();
            let closes = Closes::Maybe;
            return self.push(Exchange { closes, is_end: true, ..Exchange::of(start, end, ask) });
        }
        if rng.u32(..8) == 0 {
            // Where a body would begin, the next request does.
            self.bytes.extend(b"POST /events HTTP/1.1\r\nHost: h\r\n\r\n");
            return self.push(Exchange::of(start, self.bytes.len(), Ask::Fixed(&[411, 429])));
        }
        let (text, status, is_end) = &REFUSED[rng.usize(..REFUSED.len())];
        self.bytes.extend(text.as_bytes());
        let closes = if *is_end { Closes::Always } else { Closes::Never };
        let ask = Ask::Fixed(std::slice::from_ref(status));
        self.push(Exchange { closes, is_end: *is_end, ..Exchange::of(start, self.bytes.len(), ask) });
    }

    /// A request with events.
    pub(super) fn post(
        &mut self,
        conn: usize,
        body: &Body,
        style: &WebStyle,
        rng: &mut Rng,
        truth: &mut Truth,
    ) {
        let start = self.bytes.len();
        let is_events = body.topic == EVENTS;
        let route_ack = style.acks[usize::from(!is_events)];
        let asked = (rng.u32(..3) > 0).then(|| [Ack::None, Ack::Queued, Ack::Delivered][rng.usize(..3)]);
        let ack = asked.unwrap_or(route_ack);
        let asked_ms = (rng.u32(..4) == 0).then(|| if rng.bool() { rng.u64(1..1_500) } else { 2_000 });
        let wait_us = style.waits_us[usize::from(!is_events)];
        let timeout_us = asked_ms.map_or(wait_us, |asked_ms| wait_us.min(asked_ms * 1_000));
        let number = Post::expect(conn, body, ack, timeout_us, truth);

        let (mut query, mut more) = (Vec::new(), String::new());
        match asked {
            Some(ack) if rng.bool() => query.push(format!("ack={}", ack.text())),
            Some(ack) => more += &format!("Prefer: respond-async, ack={}\r\n", ack.text()),
            None => {}
        }
        match asked_ms {
            Some(2_000) => query.push("timeout=2s".to_owned()),
            Some(asked_ms) => query.push(format!("timeout={asked_ms}ms")),
            None => {}
        }
        if let Some(key) = body.key {
            more += &format!("Idempotency-Key: {}\r\n", key_text(key));
        }
        more += match body.shape {
            Shape::Ndjson => "Content-Type: application/x-ndjson\r\n",
            _ if rng.bool() => "Content-Type: application/json\r\n",
            _ => "",
        };
        let is_10 = rng.u32(..25) == 0;
        let closes = match rng.u32(..100) < style.close_percent {
            false if is_10 => {
                more += "Connection: Keep-Alive\r\n";
                Closes::Never
            }
            true if is_10 => Closes::Always,
            true => {
                more += "Connection: close\r\n";
                Closes::Always
            }
            false => Closes::Never,
        };
        let is_chunked = !is_10 && rng.u32(..3) == 0;
        let expects = !is_10 && rng.u32(..8) == 0;
        if expects {
            more += "Expect: 100-continue\r\n";
        }
        more += &match is_chunked {
            true => "Transfer-Encoding: chunked\r\n".to_owned(),
            false => format!("Content-Length: {}\r\n", body.bytes.len()),
        };
        let (path, version) = (if is_events { "/events" } else { "/api/v1/events" }, u8::from(!is_10));
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let head = format!(
            "POST {path}{query} HTTP/1.{version}\r\nHost: h\r\ntraceparent: post-{number}\r\n{more}\r\n"
        );
        self.bytes.extend(head.as_bytes());
        let head_end = self.bytes.len();
        match is_chunked {
            true => self.chunks(&body.bytes, rng),
            false => self.bytes.extend(&body.bytes),
        }
        let is_too_large = body.fault.is_some_and(|(_, code)| code == "body_too_large");
        let closes = match closes {
            Closes::Never if expects || is_too_large || (is_chunked && style.is_store_small) => Closes::Maybe,
            closes => closes,
        };
        let has_body = self.bytes.len() > head_end;
        self.push(Exchange {
            head_end,
            closes,
            is_end: closes == Closes::Always,
            may_end: is_too_large,
            expects,
            pauses: expects && has_body && rng.u32(..4) > 0,
            ..Exchange::of(start, self.bytes.len(), Ask::Post(number))
        });
    }

    fn chunks(&mut self, body: &[u8], rng: &mut Rng) {
        let most = [1, 10, 10_000][rng.usize(..3)];
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(rng.usize(1..=most).min(rest.len()));
            let extension = if rng.u32(..6) == 0 { ";a=\"b\"" } else { "" };
            self.bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            self.bytes.extend(chunk);
            self.bytes.extend(b"\r\n");
            rest = after;
            if body.len() > 2000 {
                // Quicker to read for everybody.
                self.bytes.extend(format!("{:x}\r\n", rest.len()).as_bytes());
                self.bytes.extend(rest);
                if !rest.is_empty() {
                    self.bytes.extend(b"\r\n0\r\n\r\n");
                } else {
                    self.bytes.extend(b"\r\n");
                }
                return;
            }
        }
        self.bytes.extend(if rng.u32(..6) == 0 { &b"0\r\nT: v\r\n\r\n"[..] } else { b"0\r\n\r\n" });
    }
}
