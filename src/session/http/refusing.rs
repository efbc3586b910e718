//! What a request is told that is not taken: one place that turns refusals into problem bodies.

use super::answer::{self, Problem};
use super::exchange::Manner;
use super::request::Refusal;
use super::{HttpSession, Stage, store};
use crate::wire::http1::{self, Fault};

impl HttpSession {
    pub(super) fn refuse_head(&mut self, refusal: Refusal, manner: Manner) {
        match refusal {
            Refusal::Http(fault) => {
                // RFC 9110 15.5.16: of a coding it says which there are.
                let headers = [("Accept-Encoding", http1::ACCEPT_ENCODING)];
                let headers = if fault == Fault::UnknownContentCoding { &headers[..] } else { &[] };
                self.refuse(Problem::of(fault.status(), fault.code(), fault.detail()), manner, headers);
            }
            Refusal::Event(fault) => self.refuse(answer::of_fault(fault), manner, &[]),
            Refusal::NotFound => {
                let detail = match (self.options.events.is_on, self.options.player_events.is_on) {
                    (true, true) => "no such path; POST /events and POST /api/v1/events take events",
                    (true, false) => "no such path; POST /events takes events",
                    (false, true) => "no such path; POST /api/v1/events takes events",
                    (false, false) => "no such path; no route takes events",
                };
                self.refuse(Problem::of(404, "not_found", detail), manner, &[]);
            }
            Refusal::Method(allowed) => {
                let problem = Problem::of(405, "method_not_allowed", "this path does not take this method");
                self.refuse(problem, manner, &[("Allow", allowed)]);
            }
            Refusal::Parameter(detail) => {
                self.refuse(Problem::of(400, "bad_parameter", detail), manner, &[]);
            }
        }
    }

    pub(super) fn refuse(&mut self, problem: Problem<'_>, manner: Manner, headers: &[(&str, &str)]) {
        let mut out = Vec::new();
        let granted = self.options.cors.headers(manner.grant);
        problem.write(manner, self.retry_after, &[headers, &granted].concat(), &mut out);
        debug_assert!(out.len() <= store::ANSWER_BYTES_MAX, "{}", out.len());
        self.push(out);
    }

    pub(super) fn refuse_and_close(&mut self, fault: Fault) {
        self.refuse_and_close_with(Problem::of(fault.status(), fault.code(), fault.detail()));
    }

    pub(super) fn refuse_and_close_with(&mut self, problem: Problem<'_>) {
        self.refuse(problem, Manner { keep_alive: false, head_only: false, http10: false, grant: 0 }, &[]);
        self.closing = true;
        self.stage = Stage::Over;
    }
}
