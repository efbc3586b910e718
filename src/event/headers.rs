//! Kafka record headers as they lie in a batch's arena: behind a record's key and value, one after the other.
//!
//! A header is two little-endian lengths, the name's in 2 bytes and the value's in 4, then both. The whole is as
//! long as the record's entry in the batch says; nothing counts the headers, so reading ends with the bytes.
//! The same form carries `ce-*` headers of a request from its head to its body.
//!
//! How many: [`MAX_COUNT`] a record at most. Whoever writes them holds that bound; names are ours or a checked
//! attribute's (66 bytes at most), values are parts of a request whose size is bounded.

/// Most headers that a record of ours carries: 48 attributes of a CloudEvent and ours beside them.
pub const MAX_COUNT: usize = 56;

/// `dlq.stage` of a message that was refused at the door: its sender was told, and its letter owes nobody anything.
pub const STAGE_CHECK: &str = "check";

/// Bytes of the two lengths.
const LENGTHS: usize = 2 + 4;

/// Appends one header. One too long for its length field (64 KiB a name, 4 GiB a value) is left out: `false`.
#[inline]
pub fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) -> bool {
    let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u32::try_from(value.len())) else {
        return false;
    };
    out.reserve(LENGTHS + name.len() + value.len());
    out.extend_from_slice(&name_len.to_le_bytes());
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value);
    true
}

/// The headers in `bytes`, in order. Ends at the first that is cut short or whose name is not UTF-8.
pub fn iter(bytes: &[u8]) -> Headers<'_> {
    Headers { rest: bytes }
}

/// What [`iter`] returns.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // Emptied here, so that nothing comes behind a broken one.
        let rest = std::mem::take(&mut self.rest);
        let (name_len, rest) = rest.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_len)))?;
        let (value, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*value_len)).ok()?)?;
        let name = std::str::from_utf8(name).ok()?;
        self.rest = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_comes_back_in_order() {
        let pairs: [(&str, &[u8]); 4] =
            [("event_type", b"click"), ("", b""), ("twice", b"\xff\0"), ("twice", b"")];
        let mut out = b"key and value".to_vec();
        let start = out.len();
        assert!(pairs.iter().all(|(name, value)| push(&mut out, name, value)));
        assert!(iter(&out[start..]).eq(pairs));
    }

    #[test]
    fn a_name_beyond_its_length_field_is_left_out() {
        let mut out = Vec::new();
        assert!(!push(&mut out, &"n".repeat(65_536), b"v") && out.is_empty());
        assert!(push(&mut out, &"n".repeat(65_535), b"v"));
        assert_eq!(iter(&out).next().unwrap().0.len(), 65_535);
    }

    #[test]
    fn any_bytes_at_all_end() {
        let mut whole = Vec::new();
        push(&mut whole, "a", b"1");
        push(&mut whole, "bc", b"23");
        let cuts: Vec<_> = (0..=whole.len()).map(|cut| iter(&whole[..cut]).count()).collect();
        assert!(cuts.is_sorted() && cuts[7] == 0 && cuts[8] == 1 && cuts[whole.len()] == 2, "{cuts:?}");
        assert_eq!(iter(b"\x01\0\0\0\0\0\xff\x01\0\0\0\0\0a").count(), 0, "a name must be UTF-8");
        assert_eq!(iter(&[0xff; 100]).count(), 0);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..3)).collect();
            let read: usize = iter(&bytes).map(|(name, value)| LENGTHS + name.len() + value.len()).sum();
            assert!(read <= bytes.len());
        }
    }
}
