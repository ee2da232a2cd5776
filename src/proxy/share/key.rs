//! What two reads must have in common to share an answer. Made by `handler`.
//! Invariant: nothing of a credential can be read off a key.

use http::{HeaderMap, HeaderValue, header};
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::LazyLock,
};

/// The request fields that an answer may depend on.
pub const FIELDS: [header::HeaderName; 4] =
    [header::ACCEPT, header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, header::COOKIE];

/// The key of one read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    credential: [u64; 2],
    /// The session as answers name it: account, project, workspace, region.
    session: HeaderValue,
    destination: usize,
    target: String,
    fields: Vec<Vec<HeaderValue>>,
}

impl Key {
    /// The key of a finished request head; `headers` has the credential and the custom headers.
    #[must_use]
    pub fn of(
        session: &HeaderValue,
        destination: usize,
        target: &str,
        headers: &HeaderMap,
    ) -> Self {
        // SECURITY: keyed hashes of this process only; the value itself is not kept.
        static HASHERS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        let all = |name| headers.get_all(name).iter().cloned().collect::<Vec<HeaderValue>>();
        let credential = all(header::AUTHORIZATION);
        let credential = HASHERS.each_ref().map(|hasher| hasher.hash_one(&credential));
        Self {
            credential,
            session: session.clone(),
            destination,
            target: target.to_owned(),
            fields: FIELDS.into_iter().map(all).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_credential_session_target_or_form_is_another_read() {
        let key = |authorization: &'static str, session: &'static str, target, accept| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(authorization));
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            headers.insert("x-request-id", HeaderValue::from_static(target));
            Key::of(&HeaderValue::from_static(session), 1, target, &headers)
        };
        let first = key("Basic secret", "s", "/a", "x");
        assert_eq!(first, key("Basic secret", "s", "/a", "x"));
        assert_ne!(first, key("Basic other", "s", "/a", "x"));
        assert_ne!(first, key("Basic secret", "t", "/a", "x"));
        assert_ne!(first, key("Basic secret", "s", "/b", "x"));
        assert_ne!(first, key("Basic secret", "s", "/a", "y"));
        assert!(!format!("{first:?}").contains("secret"));
    }
}
