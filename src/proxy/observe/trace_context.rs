//! `traceparent` of W3C Trace Context, read at the door. Called by `record`.
//! Invariant: a value that is not well-formed is ignored, and passed on as it came.

use http::{HeaderMap, HeaderName};
use std::fmt;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Trace, parent and whether the caller records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// 16 bytes, never all zero.
    pub trace_id: u128,
    /// 8 bytes, never all zero.
    pub parent_id: u64,
    /// The flags; bit 0 is `sampled`.
    pub flags: u8,
}

impl TraceContext {
    /// The caller's trace, if it sent one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let lower = |c: &u8| c.is_ascii_digit() || (b'a'..=b'f').contains(c) || *c == b'-';
        if !value.get(..55)?.iter().all(lower) || [2, 35, 52].iter().any(|at| value[*at] != b'-') {
            return None;
        }
        let text = std::str::from_utf8(&value[..55]).ok()?;
        let version = &text[..2];
        // A later version may have more fields; version 00 has not.
        if version == "ff" || (value.len() > 55 && (version == "00" || value[55] != b'-')) {
            return None;
        }
        let trace_id = u128::from_str_radix(&text[3..35], 16).ok().filter(|id| *id != 0)?;
        let parent_id = u64::from_str_radix(&text[36..52], 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(&text[53..55], 16).ok()?;
        Some(Self { trace_id, parent_id, flags })
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_recommendation_allows() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parse = |text: &str| TraceContext::parse(text.as_bytes());
        assert_eq!(format!("{:?}", parse(good).unwrap()), good);
        assert!(parse(&good.replacen("00", "cc", 1)).is_some());
        assert!(parse(&format!("cc{}-later", &good[2..])).is_some());
        for bad in [
            "",
            "00-4bf9",
            &good.to_uppercase(),
            &format!("{good}-more"),
            &good.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
