//! Why a request is refused: status, stable word and one sentence for the peer.

/// The peer's fault, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not HTTP/1.x, or a shape in which two receivers might see two different requests.
    Malformed(&'static str),
    /// The body is not what its Content-Encoding says.
    CorruptContent(&'static str),
    /// A body of unannounced length where one is needed. The codec never finds this; the session may.
    LengthRequired,
    /// More payload than the limit, as sent or inflated.
    BodyTooLarge,
    /// The request line alone exceeds the limit of a head.
    UriTooLong,
    /// A Content-Encoding that is not decoded here, or several of them.
    UnknownContentCoding,
    /// `Expect` asks for something else than `100-continue`.
    ExpectationFailed,
    /// More bytes or lines than a head, or a chunked body's trailer section, may have.
    HeadTooLarge,
    /// A transfer coding besides `chunked`.
    UnknownTransferCoding,
    /// HTTP, but neither 1.0 nor 1.1.
    VersionUnsupported,
}

impl Fault {
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::CorruptContent(_) => 400,
            Self::LengthRequired => 411,
            Self::BodyTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnknownContentCoding => 415,
            Self::ExpectationFailed => 417,
            Self::HeadTooLarge => 431,
            Self::UnknownTransferCoding => 501,
            Self::VersionUnsupported => 505,
        }
    }

    /// A word for machines, the same for ever.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::CorruptContent(_) => "corrupt_content",
            Self::LengthRequired => "length_required",
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::UnknownContentCoding => "unsupported_content_coding",
            Self::ExpectationFailed => "expectation_failed",
            Self::HeadTooLarge => "head_too_large",
            Self::UnknownTransferCoding => "unsupported_transfer_coding",
            Self::VersionUnsupported => "unsupported_http_version",
        }
    }

    /// One sentence for people. None needs escaping in JSON.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Malformed(what) | Self::CorruptContent(what) => what,
            Self::LengthRequired => {
                "a request with content needs a Content-Length or the transfer coding chunked"
            }
            Self::BodyTooLarge => "the body is larger than this listener takes",
            Self::UriTooLong => "the request line is longer than this listener takes",
            Self::UnknownContentCoding => {
                "the Content-Encoding is not one that is decoded here, or there are several"
            }
            Self::ExpectationFailed => "the only expectation that is met here is 100-continue",
            Self::HeadTooLarge => "the header has more bytes or more lines than this listener takes",
            Self::UnknownTransferCoding => "the only transfer coding that is decoded here is chunked",
            Self::VersionUnsupported => "only HTTP/1.0 and HTTP/1.1 are spoken here",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http1::reason;

    #[test]
    fn each_fault_has_its_own_word_and_a_known_status() {
        let faults = [
            Fault::Malformed("a"),
            Fault::CorruptContent("b"),
            Fault::LengthRequired,
            Fault::BodyTooLarge,
            Fault::UriTooLong,
            Fault::UnknownContentCoding,
            Fault::ExpectationFailed,
            Fault::HeadTooLarge,
            Fault::UnknownTransferCoding,
            Fault::VersionUnsupported,
        ];
        let statuses = faults.map(Fault::status);
        assert_eq!(statuses, [400, 400, 411, 413, 414, 415, 417, 431, 501, 505]);
        assert!(statuses.into_iter().all(|status| !reason(status).is_empty()));
        let words: std::collections::BTreeSet<_> = faults.map(Fault::code).into_iter().collect();
        assert_eq!(words.len(), faults.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        assert!(faults.iter().all(|fault| !fault.detail().contains(['"', '\\'])));
    }
}
