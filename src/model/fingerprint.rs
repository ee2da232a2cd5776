//! What tells one secret from another without holding it. Made of tokens and passwords by `auth`.
//! SECURITY: one-way; the secrets are long and random, so that there is nothing to guess.

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// 128 bits of a hash over the parts, in hexadecimal.
#[must_use]
pub fn fingerprint(parts: &[&SecretString]) -> String {
    let mut hash = Sha256::new_with_prefix(b"mp-proxy fingerprint 1");
    for part in parts {
        let bytes = part.expose_secret().as_bytes();
        // The length too, so that parts cannot run into each other.
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().take(16).fold(String::with_capacity(32), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together_and_nothing_shows_through() {
        let of = |parts: &[&str]| {
            let parts: Vec<SecretString> = parts.iter().map(|part| (*part).into()).collect();
            fingerprint(&parts.iter().collect::<Vec<_>>())
        };
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["ab", ""]), of(&["a", "b"]));
        assert_eq!(of(&["s3cr3t"]).len(), 32);
        assert!(!of(&["s3cr3t"]).contains("s3cr3t"));
    }
}
