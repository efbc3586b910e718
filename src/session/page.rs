//! The status page: one static file and the header lines that it is served with.
//!
//! The page holds no data and loads nothing but `/status.json`; its policy lets the browser run only the script and the
//! style whose hashes stand here.

/// For a browser that asks `/`.
pub const HTML: &str = include_str!("status.html");

/// A browser believes the content type, so that text with a peer's words in it is never taken for a page.
pub const NOSNIFF: &[(&str, &str)] = &[("X-Content-Type-Options", "nosniff")];

/// What the browser may run of [`HTML`]. The test below says what the hashes must be after a change of the page.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; \
     script-src 'sha256-eQLiNjKolDZTFQ6AZYlxNAHcN1LmXY78p5VyIR/SFfM='; style-src 'sha256-e6hx0v+pouIanRA+uG4iqoHOeapz4Q0+rSfTEFYeoBc='; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// For [`HTML`] only.
pub const HEADERS: &[(&str, &str)] = &[
    ("Content-Security-Policy", POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
];

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    use sha2::{Digest, Sha256};

    use super::*;

    /// What stands between the page's one `<tag>` and its end.
    fn inside(tag: &str) -> &'static str {
        let (_, rest) = HTML.split_once(&format!("<{tag}>")).expect(tag);
        let (inside, rest) = rest.split_once(&format!("</{tag}>")).expect(tag);
        assert!(!rest.contains(&format!("<{tag}")), "one {tag} only");
        inside
    }

    #[test]
    fn the_policy_allows_this_script_and_this_style() {
        for tag in ["script", "style"] {
            let hash = BASE64_STANDARD.encode(Sha256::digest(inside(tag)));
            assert!(POLICY.contains(&format!("{tag}-src 'sha256-{hash}'")), "{tag}: sha256-{hash}");
        }
    }

    /// What the policy would block must not be there, and nothing comes from elsewhere.
    #[test]
    fn the_page_is_small_and_stands_alone() {
        assert!(HTML.len() <= 12 << 10, "{} bytes", HTML.len());
        assert!(HTML.is_ascii(), "whatever the browser guesses");
        for never in ["://", " style=", " onclick=", " onload=", "innerHTML", "src=", "@import", "url("] {
            assert!(!HTML.contains(never), "{never}");
        }
    }
}
