//! What a trusted proxy may say before the first byte of its client: a PROXY header, version 1 or 2.
//!
//! Only connections that come from TRUSTED_PROXIES are asked; to all others the same bytes are the session's.

use std::ops::Range;

use super::conn::Conn;
use super::desk::{Desk, TOO_MANY};
use super::stream::Stream;
use crate::session::Now;
use crate::wire::proxy::{self, Parsed};

/// How far a connection's first bytes have come.
pub enum Prelude {
    /// Not far enough to tell.
    Incomplete,
    /// So many bytes are not the session's.
    Passed(usize),
    /// A header that is none, or a client that has too many connections: the connection ends.
    Broken,
}

impl<S: Stream> Conn<S> {
    /// Looks for a PROXY header at the start of what was read, if one may still come.
    pub(super) fn pass_prelude(&mut self, desk: &mut Desk, staged: Range<usize>, now: Now) -> Prelude {
        if !self.expects_proxy {
            return Prelude::Passed(0);
        }
        let parsed = match proxy::parse(desk.staged(staged)) {
            Ok(Parsed::Partial) if !self.has_ended() => return Prelude::Incomplete,
            Ok(parsed) => parsed,
            Err(fault) => {
                desk.refuse(self.stream.peer(), self.is_http(), fault.detail(), now);
                return Prelude::Broken;
            }
        };
        self.expects_proxy = false;
        match parsed {
            Parsed::Complete { source, bytes } => match source {
                Some(client) if !desk.door.has_place(client.ip()) => {
                    desk.refuse(client, self.is_http(), TOO_MANY, now);
                    Prelude::Broken
                }
                Some(client) => {
                    self.client = client;
                    self.counted = desk.door.enter(client.ip());
                    Prelude::Passed(bytes)
                }
                // The proxy speaks for itself.
                None => Prelude::Passed(bytes),
            },
            Parsed::Absent | Parsed::Partial => Prelude::Passed(0),
        }
    }
}
