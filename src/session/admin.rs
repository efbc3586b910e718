//! One peer's conversation with the health listener: `/health`, `/ready`, metrics, `/state`, the status page.
//!
//! Owns the routes and when the connection ends. Sans-IO: bytes come in, answers are appended to a buffer of the
//! caller's, and what the gateway knows is asked through [`AdminView`]; no socket, no clock. Answers leave in the
//! order of the requests. Bounded: it stops taking requests while [`OUT_BYTES_MAX`] of answers wait to be written.

#[cfg(feature = "http")]
use std::borrow::Cow;
use std::sync::Arc;

#[cfg(feature = "http")]
use super::http::{OPENAPI, Page};
use super::page;
use crate::wire::http1::{self, Fault, HEADERS_MAX, Head, HeaderSlots, Limits, Method, Parsed, Response};

/// Bytes of unwritten answers at which no further request is taken. One answer may exceed it by its own size.
pub const OUT_BYTES_MAX: usize = 64 * 1024;

/// Longest request head.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

const LIMITS: Limits = Limits { head_bytes: HEAD_BYTES_MAX, headers: HEADERS_MAX };

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Pages of every configuration; METRICS_PATH is another.
pub const ADMIN_PATHS: [&str; 5] = ["/", "/health", "/ready", "/state", "/status.json"];

/// What the gateway tells about itself. Each method appends to `body`, and keeps it bounded.
pub trait AdminView {
    /// JSON with `status` first; whether the process is alive.
    fn health(&self, body: &mut String) -> bool;
    /// JSON with `status` first; whether traffic may come (G15).
    fn ready(&self, body: &mut String) -> bool;
    /// Prometheus text format 0.0.4.
    fn metrics(&self, body: &mut String);
    /// State dump for a person: connections, who is paused and why, lanes, in flight (G7).
    fn state(&self, body: &mut String);
    /// JSON with the numbers of the status page.
    fn status(&self, body: &mut String);
}

/// One connection of the health listener.
#[derive(Debug)]
pub struct AdminSession {
    metrics_path: Option<Arc<str>>,
    finished: bool,
}

impl AdminSession {
    /// `metrics_path`: where metrics are (METRICS_PATH), `None` to show none (METRICS_ENABLED).
    pub fn new(metrics_path: Option<Arc<str>>) -> Self {
        Self { metrics_path, finished: false }
    }

    /// Takes what was read and appends the answers to `out`; returns the bytes consumed. The caller keeps the rest,
    /// never more than [`HEAD_BYTES_MAX`] unless `out` is full, and calls again: with more bytes, once `out` is
    /// below [`OUT_BYTES_MAX`] again, or with `eof` when the peer will send no more. A finished session consumes and
    /// ignores everything, so that the caller may read on until the peer has taken its last answer.
    pub fn receive(&mut self, input: &[u8], eof: bool, view: &dyn AdminView, out: &mut Vec<u8>) -> usize {
        let mut consumed = 0;
        while !self.finished && out.len() < OUT_BYTES_MAX {
            match http1::parse_head(&input[consumed..], &LIMITS, &mut HeaderSlots::new()) {
                // The answer ends the connection: nobody would read the body.
                Ok(Parsed::Complete(head, _)) if head.framing.has_body() => {
                    self.finished = true;
                    refuse(Fault::BodyTooLarge, "this listener takes no request bodies", out);
                }
                Ok(Parsed::Complete(head, bytes)) => {
                    self.answer(&head, view, out);
                    consumed += bytes;
                }
                Ok(Parsed::Partial) if !eof => break,
                Ok(Parsed::Partial) => {
                    self.finished = true;
                    if !input[consumed..].trim_ascii().is_empty() {
                        let fault = Fault::Malformed("the connection ended inside a request head");
                        refuse(fault, fault.detail(), out);
                    }
                }
                Err(fault) => {
                    self.finished = true;
                    refuse(fault, fault.detail(), out);
                }
            }
        }
        if self.finished { input.len() } else { consumed }
    }

    /// The connection is to be closed once `out` is written.
    pub fn finished(&self) -> bool {
        self.finished
    }

    fn answer(&mut self, head: &Head<'_>, view: &dyn AdminView, out: &mut Vec<u8>) {
        let mut body = String::new();
        let (status, content_type) = self.route(head, view, &mut body);
        let Head { keep_alive, http10, .. } = *head;
        let head_only = head.method == Method::Head;
        let headers =
            [headers_of(status), if content_type == HTML { page::HEADERS } else { page::NOSNIFF }].concat();
        let headers = headers.as_slice();
        Response { status, content_type, headers, body: body.as_bytes(), keep_alive, head_only, http10 }
            .write(out);
        self.finished = !keep_alive;
    }

    /// Fills the body; returns status and content type.
    fn route(&self, head: &Head<'_>, view: &dyn AdminView, body: &mut String) -> (u16, &'static str) {
        let metrics_path = self.metrics_path.as_deref();
        if !ADMIN_PATHS.contains(&head.path) && metrics_path != Some(head.path) {
            return problem(404, "no such page; / lists those that there are", body);
        }
        if !matches!(head.method, Method::Get | Method::Head) {
            return problem(405, "only GET and HEAD are served here", body);
        }
        match head.path {
            "/" if http1::accepts_html(head) => {
                body.push_str(page::HTML);
                return (200, HTML);
            }
            "/" => index(metrics_path, body),
            "/health" => return (probe(view.health(body)), JSON),
            "/ready" => return (probe(view.ready(body)), JSON),
            "/state" => view.state(body),
            "/status.json" => {
                view.status(body);
                return (200, JSON);
            }
            _ => {
                view.metrics(body);
                return (200, METRICS);
            }
        }
        (200, TEXT)
    }
}

/// What an HTTP listener shows of the gateway; status, content type and body.
#[cfg(feature = "http")]
pub(super) fn page(page: Page, view: &dyn AdminView) -> (u16, &'static str, Cow<'static, str>) {
    let mut body = String::new();
    let (status, content_type) = match page {
        Page::Health => (probe(view.health(&mut body)), JSON),
        Page::Ready => (probe(view.ready(&mut body)), JSON),
        Page::Metrics => {
            view.metrics(&mut body);
            (200, METRICS)
        }
        Page::OpenApi => return (200, JSON, Cow::Borrowed(OPENAPI)),
    };
    (status, content_type, Cow::Owned(body))
}

fn probe(good: bool) -> u16 {
    if good { 200 } else { 503 }
}

fn index(metrics_path: Option<&str>, body: &mut String) {
    body.push_str("/health  is the process alive\n/ready   may traffic come\n");
    body.push_str("/state   who is paused and why, for reading\n");
    body.push_str("/status.json  the numbers of the status page, which a browser gets here\n");
    if let Some(path) = metrics_path {
        body.push_str(path);
        body.push_str("  for Prometheus\n");
    }
}

/// 405 names the methods that there are, 503 says when to ask again.
fn headers_of(status: u16) -> &'static [(&'static str, &'static str)] {
    match status {
        405 => &[("Cache-Control", "no-store"), ("Allow", "GET, HEAD")],
        503 => &[("Cache-Control", "no-store"), ("Retry-After", "1")],
        _ => &[("Cache-Control", "no-store")],
    }
}

/// Answers a fault; the connection ends with it.
fn refuse(fault: Fault, detail: &'static str, out: &mut Vec<u8>) {
    let mut body = String::new();
    let (status, content_type) = problem(fault.status(), detail, &mut body);
    let headers = [headers_of(status), page::NOSNIFF].concat();
    let headers = headers.as_slice();
    let body = body.as_bytes();
    Response { status, content_type, headers, body, keep_alive: false, head_only: false, http10: false }
        .write(out);
}

/// RFC 9457 body. `detail` is one of our own sentences and needs no escaping.
fn problem(status: u16, detail: &'static str, body: &mut String) -> (u16, &'static str) {
    let title = http1::reason(status);
    for part in [r#"{"type":"about:blank","title":""#, title, r#"","status":"#, &status.to_string()] {
        body.push_str(part);
    }
    for part in [r#","detail":""#, detail, "\"}\n"] {
        body.push_str(part);
    }
    (status, PROBLEM)
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
