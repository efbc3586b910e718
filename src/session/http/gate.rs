//! The rate limit at a request's head: 429 before the body is read, the connection stays usable.
//!
//! A request to a route that takes events costs one token, whatever its batch holds: RATE_LIMIT_RPS counts requests,
//! and what a request may hold is bounded elsewhere. Pages and refused heads cost none.

use super::HttpSession;
use super::answer::Problem;
use super::exchange::Manner;
use crate::admission::Network;
use crate::session::intake::Intake;
use crate::wire::http1::Head;

/// Whom a request is held against.
pub(super) fn client(head: &Head<'_>, intake: &Intake<'_>) -> Network {
    let forwarded = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for"));
    intake.door.client(intake.peer.ip(), forwarded.map(|(_, value)| value))
}

impl HttpSession {
    /// Answers a request that came too fast; `seconds`: when the next one may come.
    pub(super) fn refuse_rate(&mut self, seconds: u32, manner: Manner) {
        let problem = Problem {
            retryable: true,
            outcome: Some("not_stored"),
            ..Problem::of(429, "rate_limited", "more requests than this sender may send: see Retry-After")
        };
        let mut out = Vec::new();
        problem.write(manner, seconds, &self.options.cors.headers(manner.grant), &mut out);
        self.push(out);
    }
}
