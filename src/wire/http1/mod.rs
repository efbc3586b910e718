//! HTTP/1.x requests and responses, sans-IO (RFC 9112, RFC 9110): bytes in, findings out.
//!
//! Owns what a request head must look like, where its body ends, how a query or a coded body is read and how a response
//! is written. No socket, no clock (hence no `Date`, RFC 9110 6.6.1), no routes. Strict where RFC 9112 lets a receiver
//! be lenient: where two receivers might see two different requests, it is a fault. What is found does not depend on
//! how the bytes were cut.
//!
//! A session calls [`parse_head`] with what it has until there is a [`Head`], looks at its [`Framing`], takes the body
//! as it is or through [`Chunked`], and goes on behind it. After a fault of one of these two the connection is over,
//! because where the next request would begin is then a matter of opinion. Faults of [`query_param`] and of a body's
//! coding concern one request alone.

mod accept;
mod body;
#[cfg(feature = "http")]
mod coding;
mod fault;
mod fields;
mod head;
mod query;
mod reply;
mod response;

pub use accept::accepts_html;
pub use body::{ChunkStep, Chunked, SKIPPED_BYTES_MAX};
#[cfg(feature = "http")]
pub use coding::{ACCEPT_ENCODING, Coding, inflate};
pub use fault::Fault;
pub use fields::Framing;
pub use head::{HEADERS_MAX, Head, HeaderSlots, Limits, Method, Parsed, parse_head};
pub use query::{PARAM_BYTES_MAX, query_param};
pub use reply::{Reply, parse_reply};
pub use response::{CONTINUE, Response, decimal, reason, status};

/// Appends `bytes`. The capacity grows by doubling, but never beyond `most` on account of it.
fn append(out: &mut Vec<u8>, bytes: &[u8], most: usize) {
    make_room(out, bytes.len(), most);
    out.extend_from_slice(bytes);
}

/// Room for `more` bytes at least; twice of what there is where `most`, a bound for the whole, allows it.
fn make_room(out: &mut Vec<u8>, more: usize, most: usize) {
    let needed = out.len() + more;
    if out.capacity() < needed {
        let wanted = (out.capacity() * 2).min(most).max(needed);
        out.reserve_exact(wanted - out.len());
    }
}
