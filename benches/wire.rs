//! Finding messages in bytes, ns a message: `cargo bench --bench wire`.

use divan::{Bencher, counter::ItemsCount};
use sluice::wire::http1::{HeaderSlots, Limits, Parsed, Response, parse_head};
use sluice::wire::{Frames, Item, Lines, Step, ack};

const MESSAGES: usize = 1_500;
const LINE: &[u8] = br#"{"lb":"global","player":"player-000042","score":9001,"ts_ms":1700000000000}"#;

fn main() {
    divan::main();
}

/// One read's worth of messages, found one after the other.
fn find(input: &[u8], mut next: impl FnMut(&[u8]) -> Step) -> usize {
    let (mut at, mut bytes) = (0, 0);
    loop {
        let step = next(&input[at..]);
        at += step.consumed;
        match step.item {
            Some(Item::Message(range)) => bytes += range.len(),
            Some(_) => bytes += 1,
            None => return bytes,
        }
    }
}

/// The floor of `lines`: one search a line and nothing else.
#[divan::bench]
fn memchr_alone(bencher: Bencher) {
    let input = [LINE, b"\n"].concat().repeat(MESSAGES);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let (mut at, mut bytes) = (0, 0);
        while let Some(length) = memchr::memchr(b'\n', &input[at..]) {
            at += length + 1;
            bytes += length;
        }
        bytes
    });
}

#[divan::bench(args = ["LF", "CRLF"])]
fn lines(bencher: Bencher, end: &str) {
    let end = if end == "LF" { &b"\n"[..] } else { b"\r\n" };
    let input = [LINE, end].concat().repeat(MESSAGES);
    let mut lines = Lines::new(65_536);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| find(&input, |input| lines.next(input, false)));
}

#[divan::bench]
fn frames(bencher: Bencher) {
    let input = [&40_u32.to_be_bytes(), &[7; 40][..]].concat().repeat(MESSAGES);
    let mut frames = Frames::new(65_536);
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .bench_local(|| find(&input, |input| frames.next(input, false)));
}

/// A byte at a time: what a trickling sender costs a read.
#[divan::bench]
fn trickle(bencher: Bencher) {
    let mut lines = Lines::new(65_536);
    bencher.counter(ItemsCount::new(LINE.len())).bench_local(|| {
        (0..LINE.len()).for_each(|have| {
            divan::black_box(lines.next(&LINE[..have], false));
        });
        lines.next(LINE, true).consumed
    });
}

#[divan::bench]
fn ack_stored(bencher: Bencher) {
    let mut out = Vec::with_capacity(32);
    let mut n = 0;
    bencher.bench_local(|| {
        out.clear();
        n += 1_001;
        ack::stored(&mut out, n);
        out.len()
    });
}

/// POSTs of 430 bytes and a small body, as a client behind a proxy sends them.
#[divan::bench]
fn http_head(bencher: Bencher) {
    let head = "POST /api/v1/events?ack=stored HTTP/1.1\r\nHost: events.example.com\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0\r\nAccept: */*\r\n\
        Content-Type: application/json\r\nContent-Length: 75\r\nX-Forwarded-For: 203.0.113.7\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
        Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n\r\n";
    let input = [head.as_bytes(), LINE].concat().repeat(MESSAGES);
    let limits = Limits::default();
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let (mut at, mut typed) = (0, 0);
        while at < input.len() {
            match parse_head(&input[at..], &limits, &mut HeaderSlots::new()) {
                Ok(Parsed::Complete(parsed, bytes)) => {
                    at += bytes + LINE.len();
                    typed += usize::from(parsed.header("content-type").is_some());
                }
                other => panic!("{other:?}"),
            }
        }
        typed
    });
}

#[divan::bench]
fn http_response(bencher: Bencher) {
    let mut out = Vec::with_capacity(1024);
    let response = Response {
        status: 202,
        content_type: "application/json",
        headers: &[("Cache-Control", "no-store")],
        body: br#"{"status":"queued","event_id":"6f9619ff-8b86-d011-b42d-00c04fc964ff"}"#,
        keep_alive: true,
        head_only: false,
        http10: false,
    };
    bencher.bench_local(|| {
        out.clear();
        divan::black_box(&response).write(&mut out);
        out.len()
    });
}
