//! Requests as they come: heads, bodies collected or read away, and what is refused before a body is read.

use super::answer::Problem;
use super::exchange::Manner;
use super::request::{self, Asked, Refusal};
use super::*;
use crate::session::intake::EVENTS_TOPIC;

impl HttpSession {
    /// Reads a head, and the body as well if all of it is there. How much was used, and whether more may follow.
    pub(super) fn head(
        &mut self,
        input: &[u8],
        eof: bool,
        address: (u32, u16),
        intake: &mut Intake<'_>,
    ) -> (usize, bool) {
        if input.is_empty() {
            return (0, false); // behind each request that ends a read
        }
        let mut slots = HeaderSlots::new();
        let (head, length) = match http1::parse_head(input, &LIMITS, &mut slots) {
            Ok(Parsed::Complete(head, length)) => (head, length),
            Ok(Parsed::Partial) => {
                if eof && !input.trim_ascii().is_empty() {
                    self.since_us = intake.now.us;
                    self.refuse_and_close(Fault::Malformed("the connection ended inside a request head"));
                }
                if self.head_since_us == 0 {
                    self.head_since_us = intake.now.us;
                }
                return (if eof { input.len() } else { 0 }, false);
            }
            Err(fault) => {
                self.since_us = intake.now.us;
                self.refuse_and_close(fault);
                return (input.len(), true);
            }
        };
        (self.since_us, self.head_since_us) = (intake.now.us, 0);
        let keep_alive = head.keep_alive && !self.closing;
        let grant = self.options.cors.grant(&head);
        self.closing |= !keep_alive;
        let manner =
            Manner { keep_alive, head_only: head.method == http1::Method::Head, http10: head.http10, grant };
        let rest = &input[length..];
        let asked = request::read(&head, &self.options, self.metrics_path.as_deref());
        let mut post = match asked {
            Ok(Asked::Events(post)) => post,
            Ok(Asked::Page(page)) => {
                let framing = head.framing;
                return match framing {
                    Framing::None | Framing::Length(0) => {
                        self.stage = Stage::Page(page, manner);
                        (length, true)
                    }
                    _ => {
                        let problem = Problem::of(413, "body_unwanted", "this page takes no body");
                        let manner = self.send_away(framing, head.expect_continue, manner);
                        self.refuse(problem, manner, &[]);
                        (length, true)
                    }
                };
            }
            Ok(Asked::Allowed(methods)) => {
                let manner = self.send_away(head.framing, head.expect_continue, manner);
                self.allow(methods, manner);
                return (length, true);
            }
            Err(refusal) => {
                if let Refusal::Event(fault) = refusal {
                    // There is no body to keep.
                    intake.refuse_event(fault, b"", EVENTS_TOPIC);
                }
                let manner = self.send_away(head.framing, head.expect_continue, manner);
                self.refuse_head(refusal, manner);
                return (length, true);
            }
        };
        post.manner = manner;
        post.client = gate::client(&head, intake);
        if let Err(seconds) = intake.door.allow(post.client, intake.now.us) {
            let manner = self.send_away(head.framing, head.expect_continue, manner);
            self.refuse_rate(seconds, manner);
            return (length, true);
        }
        if let Some(problem) = self.door(&head.framing, intake) {
            let manner = self.send_away(head.framing, head.expect_continue, manner);
            self.refuse(problem, manner, &[]);
            return (length, true);
        }
        match head.framing {
            Framing::Length(bytes) if rest.len() as u64 >= bytes => {
                let bytes = bytes as usize;
                self.take(&post, &rest[..bytes], address, intake);
                self.after_request();
                (length + bytes, true)
            }
            framing => {
                let wanted = match framing {
                    Framing::Length(bytes) => bytes as usize,
                    _ => 0,
                };
                let head_bytes = post.heap_bytes();
                if wanted + head_bytes > intake.web.body_room {
                    let problem = Problem {
                        retryable: true,
                        outcome: Some("not_stored"),
                        ..Problem::of(503, "overloaded", "no room for the body: try again later")
                    };
                    let manner = self.send_away(framing, head.expect_continue, manner);
                    self.refuse(problem, manner, &[]);
                    return (length, true);
                }
                intake.web.body_room -= wanted + head_bytes;
                if head.expect_continue && rest.is_empty() {
                    self.push(http1::CONTINUE.to_vec());
                }
                let framed = match framing {
                    Framing::Chunked => Framed::Chunked(Chunked::default()),
                    _ => Framed::Length(wanted as u64),
                };
                let bytes = Vec::with_capacity(wanted);
                self.stage = Stage::Body(Box::new(Incoming {
                    post: *post,
                    framed,
                    bytes,
                    reserved: wanted,
                    head_bytes,
                }));
                (length, true)
            }
        }
    }

    /// What can be refused before the body is read.
    pub(super) fn door(&self, framing: &Framing, intake: &Intake<'_>) -> Option<Problem<'static>> {
        match framing {
            Framing::None => {
                Some(Problem::of(411, "length_required", "the request needs Content-Length or chunks"))
            }
            Framing::Length(bytes) if *bytes > self.options.max_body_bytes as u64 => Some(too_large()),
            _ if !intake.room.is_open() => Some(Problem {
                retryable: true,
                outcome: Some("not_stored"),
                ..Problem::of(503, "overloaded", "the buffer is full: try again later")
            }),
            _ => None,
        }
    }

    /// Collects a body.
    pub(super) fn body(
        &mut self,
        input: &[u8],
        address: (u32, u16),
        intake: &mut Intake<'_>,
    ) -> (usize, bool) {
        let limit = self.options.max_body_bytes;
        let Stage::Body(incoming) = &mut self.stage else { return (0, false) };
        let (used, done) = match &mut incoming.framed {
            Framed::Length(left) => {
                let used = input.len().min(*left as usize);
                incoming.bytes.extend_from_slice(&input[..used]);
                *left -= used as u64;
                (used, *left == 0)
            }
            Framed::Chunked(chunked) => {
                let room = limit.min(incoming.reserved + intake.web.body_room);
                let step = match chunked.decode(input, &mut incoming.bytes, room) {
                    Ok(step) => step,
                    Err(fault) => {
                        // Where the next request begins is not known any more.
                        let is_room = room < limit && matches!(fault, Fault::BodyTooLarge);
                        self.release_body(&mut intake.web.body_room);
                        match is_room {
                            true => self.refuse_and_close_with(Problem {
                                retryable: true,
                                ..Problem::of(503, "overloaded", "no room for the body: try again later")
                            }),
                            false => self.refuse_and_close(fault),
                        }
                        return (input.len(), true);
                    }
                };
                let more = incoming.bytes.capacity().saturating_sub(incoming.reserved);
                intake.web.body_room = intake.web.body_room.saturating_sub(more);
                incoming.reserved += more;
                (step.consumed, step.done)
            }
        };
        if !done {
            return (used, false);
        }
        let Stage::Body(incoming) = std::mem::replace(&mut self.stage, Stage::Head) else {
            return (used, false);
        };
        intake.web.body_room += incoming.reserved + incoming.head_bytes;
        self.take(&incoming.post, &incoming.bytes, address, intake);
        self.after_request();
        (used, true)
    }

    /// Reads a body away.
    pub(super) fn away(&mut self, input: &[u8]) -> (usize, bool) {
        let Stage::Away(framed) = &mut self.stage else { return (0, false) };
        let (used, done) = match framed {
            Framed::Length(left) => {
                let used = (input.len() as u64).min(*left);
                *left -= used;
                (used as usize, *left == 0)
            }
            Framed::Chunked(chunked) => {
                let most = self.options.max_body_bytes as u64 * AWAY_TIMES;
                let mut nowhere = Vec::new();
                match chunked.decode(input, &mut nowhere, most as usize) {
                    Ok(step) => (step.consumed, step.done),
                    Err(_) => {
                        self.closing = true;
                        (input.len(), true)
                    }
                }
            }
        };
        if done {
            self.after_request();
        }
        (used, done)
    }

    /// A request is over: the next one, or the end.
    pub(super) fn after_request(&mut self) {
        self.stage = if self.closing { Stage::Over } else { Stage::Head };
    }

    /// The body of a refused request is read away if it is of a bearable length, or else the connection ends; how
    /// the refusal is to be written.
    pub(super) fn send_away(&mut self, framing: Framing, expects: bool, manner: Manner) -> Manner {
        let most = self.options.max_body_bytes as u64 * AWAY_TIMES;
        self.stage = match framing {
            // It was told the answer before it sent the body, and will not send it (RFC 9110 10.1.1); or it may.
            _ if expects && framing != Framing::None => {
                self.closing = true;
                Stage::Over
            }
            Framing::None | Framing::Length(0) => {
                self.after_request();
                return manner;
            }
            Framing::Length(bytes) if bytes <= most => Stage::Away(Framed::Length(bytes)),
            Framing::Chunked => Stage::Away(Framed::Chunked(Chunked::default())),
            Framing::Length(_) => {
                self.closing = true;
                Stage::Over
            }
        };
        Manner { keep_alive: manner.keep_alive && !self.closing, ..manner }
    }
}

fn too_large() -> Problem<'static> {
    Problem::of(413, "body_too_large", "the body is larger than HTTP_MAX_BODY_BYTES")
}
