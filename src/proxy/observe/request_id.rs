//! The id that a request has in our log and in the answer: the caller's own if it is sane.
//! Called by `record`. Invariant: an id is safe to write into a log line and a header.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// The header, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where the upstream's own id goes, so that it is not lost.
pub const X_UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-mp-upstream-request-id");

const LONGEST: usize = 128;

/// Makes ids; one for each thread.
#[derive(Debug)]
pub struct RequestIds {
    /// Differs between processes and threads.
    prefix: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        // Unique, not secret: the keys of the standard hasher are random for each of them.
        Self { prefix: RandomState::new().hash_one(0) & 0xffff_ffff_ffff, next: AtomicU64::new(1) }
    }
}

impl RequestIds {
    /// The caller's id if it sent exactly one that is sane, else a new one.
    #[must_use]
    pub fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let mut values = headers.get_all(X_REQUEST_ID).iter();
        match (values.next(), values.next()) {
            (Some(value), None) if sane(value.as_bytes()) => value.clone(),
            _ => self.make(),
        }
    }

    fn make(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; 20];
        hex(&mut text[..12], self.prefix);
        hex(&mut text[12..], number);
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

/// The low digits of a number.
fn hex(into: &mut [u8], mut number: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn sane(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.:/+=@".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::default();
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(X_REQUEST_ID, HeaderValue::from_str(value).unwrap());
            }
            ids.of(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(of(&["01HX-3/a.b:c"]), "01HX-3/a.b:c");
        let long = "a".repeat(129);
        let mut made = Vec::new();
        for bad in [&[][..], &[""], &["a b"], &["a\"b"], &["a", "b"], &[&long]] {
            let id = of(bad);
            assert!(id.len() == 20 && !made.contains(&id), "{id}");
            made.push(id);
        }
    }
}
