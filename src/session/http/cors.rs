//! Which web pages may send from a browser: cross-origin resource sharing (Fetch standard, section 3.2).
//!
//! Off unless HTTP_CORS_ORIGINS names origins. A browser asks by OPTIONS before it sends JSON, and shows a page only
//! answers that name the page's origin. This protects browsers' users, never the gateway: whoever is no browser sends
//! what it likes. There are no credentials, so none are allowed for.

use super::HttpSession;
use super::exchange::Manner;
use crate::wire::http1::Head;

/// Longest origin that may be configured, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 128;
/// How long a browser may remember what it was told, in seconds.
const MAX_AGE: &str = "600";
/// What a page may read of an answer's headers.
const EXPOSED: &str = "X-Request-Id, Retry-After";
const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

/// The origins that may send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// `*` alone stands for all.
    origins: Vec<String>,
}

/// The origin that an answer is for: 0 for none, else its place in [`Cors`] from 1.
pub(super) type Grant = u16;

impl Cors {
    /// `origins`: as browsers send them, or `*`.
    pub fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// Whether a page of the head's origin may see the answer.
    pub(super) fn grant(&self, head: &Head<'_>) -> Grant {
        if self.origins.is_empty() {
            return 0;
        }
        let Some(origin) = head.header("origin") else { return 0 };
        let is_one = |known: &String| known == "*" || known.as_bytes() == origin;
        self.origins.iter().position(is_one).map_or(0, |at| at as Grant + 1)
    }

    /// Headers of an answer.
    pub(super) fn headers(&self, grant: Grant) -> Vec<(&'static str, &str)> {
        let Some(origin) = usize::from(grant).checked_sub(1).and_then(|at| self.origins.get(at)) else {
            return Vec::new();
        };
        let mut headers = vec![(ALLOW_ORIGIN, origin.as_str()), ("Access-Control-Expose-Headers", EXPOSED)];
        if origin != "*" {
            headers.push(("Vary", "Origin"));
        }
        headers
    }

    /// Headers of the answer to the question that comes before a request. `methods`: those of the path.
    fn permission(&self, grant: Grant, methods: &'static str) -> Vec<(&'static str, &str)> {
        let mut headers = self.headers(grant);
        if !headers.is_empty() {
            headers.extend([
                ("Access-Control-Allow-Methods", methods),
                // Without credentials this stands for any.
                ("Access-Control-Allow-Headers", "*"),
                ("Access-Control-Max-Age", MAX_AGE),
            ]);
        }
        headers
    }
}

impl HttpSession {
    /// Answers OPTIONS.
    pub(super) fn allow(&mut self, methods: &'static str, manner: Manner) {
        let mut headers = self.options.cors.permission(manner.grant, methods);
        headers.insert(0, ("Allow", methods));
        let mut out = Vec::new();
        super::answer::respond(204, "", &headers, b"", manner, &mut out);
        self.push(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::{HEADERS_MAX, HeaderSlots, Limits, Parsed, parse_head};

    fn grant(cors: &Cors, origin: &str) -> Grant {
        let text = format!("POST /events HTTP/1.1\r\nHost: g\r\n{origin}\r\n");
        let mut slots = HeaderSlots::new();
        let limits = Limits { head_bytes: 1000, headers: HEADERS_MAX };
        match parse_head(text.as_bytes(), &limits, &mut slots) {
            Ok(Parsed::Complete(head, _)) => cors.grant(&head),
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn an_origin_is_granted_by_name() {
        let cors = Cors::new(vec!["https://a.example".into(), "http://b.example:81".into()]);
        assert_eq!(grant(&cors, "Origin: http://b.example:81\r\n"), 2);
        for other in
            ["", "Origin: null\r\n", "Origin: https://a.example.com\r\n", "Origin: https://A.example\r\n"]
        {
            assert_eq!(grant(&cors, other), 0, "{other}");
        }
        let headers = cors.headers(1);
        assert!(
            headers.contains(&(ALLOW_ORIGIN, "https://a.example")) && headers.contains(&("Vary", "Origin"))
        );
        assert!(cors.permission(2, "POST").contains(&("Access-Control-Allow-Methods", "POST")));
        assert_eq!((cors.headers(0), cors.headers(3)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn all_origins_and_none() {
        let all = Cors::new(vec!["*".into()]);
        assert_eq!(grant(&all, "Origin: null\r\n"), 1);
        assert!(
            all.headers(1).contains(&(ALLOW_ORIGIN, "*")) && !all.headers(1).contains(&("Vary", "Origin"))
        );
        assert_eq!(grant(&all, ""), 0, "not from a page");
        assert_eq!(grant(&Cors::default(), "Origin: https://a.example\r\n"), 0);
    }
}
