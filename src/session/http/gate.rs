//! The rate limit at a request's head: 429 before the body is read, the connection stays usable.
//!
//! A request to a route that takes events costs one token, whatever its batch holds: RATE_LIMIT_RPS counts requests,
//! and what a request may hold is bounded elsewhere. Pages and refused heads cost none.

use super::answer::Problem;
use super::exchange::Manner;
use super::{Answer, HttpSession};
use crate::admission::Network;
use crate::session::intake::Intake;
use crate::wire::http1::Head;

/// Whom a request is held against.
pub(super) fn client(head: &Head<'_>, intake: &Intake<'_>) -> Network {
    let forwarded = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-for"));
    intake.door.client(intake.peer.ip(), forwarded.map(|(_, value)| value))
}

impl HttpSession {
    /// Whether the request of this head may go on; if not, it has its answer.
    pub(super) fn passes_limit(&mut self, client: Network, manner: Manner, intake: &mut Intake<'_>) -> bool {
        let Err(seconds) = intake.door.allow(client, intake.now.us) else { return true };
        let problem = Problem {
            retryable: true,
            outcome: Some("not_stored"),
            ..Problem::of(429, "rate_limited", "more requests than this sender may send: see Retry-After")
        };
        let mut out = Vec::new();
        problem.write(manner, seconds, &[], &mut out);
        self.push(Answer::Ready(out));
        false
    }
}
