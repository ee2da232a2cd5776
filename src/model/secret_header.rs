//! A header value that holds a secret. Made by the credential, the tokens and the custom headers.
//! Invariants: `Debug` does not show it; the text behind it is wiped when its last clone goes.

use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

/// The value; `None` for what is not visible ASCII on one line. The parts follow each other.
#[must_use]
pub fn secret_header(parts: &[&str]) -> Option<HeaderValue> {
    // In one piece: a text that grows leaves its former place as it was.
    let text = Zeroizing::new(parts.concat());
    if !text.is_ascii() {
        return None;
    }
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_hidden_and_refuses_what_no_header_holds() {
        let value = secret_header(&["Bearer ", "s3cr3t"]).unwrap();
        assert_eq!(value.clone(), "Bearer s3cr3t");
        assert!(value.is_sensitive() && !format!("{value:?}").contains("s3cr3t"));
        for bad in ["a\nb", "a\u{e9}", "a\0", "\x7f"] {
            assert!(secret_header(&["Bearer ", bad]).is_none(), "{bad:?}");
        }
    }
}
