//! Custom headers: which may be sent, and how they replace each other.
//! Called by config, bridge and the resolver.
//! SECURITY: a custom header can never carry or displace what the proxy itself sends.

use crate::model::{
    refusal::Refusal,
    secret_header::secret_header,
    session::{CustomHeader, CustomHeaders},
};
use http::HeaderName;

const RESERVED: [&str; 14] = [
    "authorization",
    "proxy-authorization",
    "proxy-authenticate",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "expect",
    "via",
];

/// Checks one custom header; `source` says where it was written.
///
/// # Errors
/// `CONFIG_ERROR` for a name that the proxy owns, and for what is no header at all.
pub fn custom_header(name: &str, value: &str, source: &str) -> Result<CustomHeader, Refusal> {
    let spelling = name.to_owned();
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Refusal::config(format!("{source}: the header name is not valid"))
            .hint("give a name of letters, digits and `-`, such as X-Mixpanel-Cluster")
    })?;
    let plain = name.as_str().replace('_', "-");
    if plain.starts_with("x-mp-") || RESERVED.contains(&plain.as_str()) {
        return Err(Refusal::config(format!("{source}: `{name}` cannot be a custom header"))
            .hint("choose another header name; this one belongs to the proxy"));
    }
    let value = secret_header(&[value]).ok_or_else(|| {
        Refusal::config(format!("{source}: the value of `{name}` is not visible ASCII"))
            .hint("give it a value of visible ASCII characters on one line")
    })?;
    Ok(CustomHeader { spelling, name, value })
}

/// Adds a header; one of the same name gives way.
pub fn put(list: &mut CustomHeaders, custom: CustomHeader) {
    list.retain(|other| other.name != custom.name);
    list.push(custom);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_names_and_bad_values_are_refused() {
        for name in
            ["Authorization", "HOST", "te", "X-Mp-Account", "x_mp_account", "keep_alive", "a b", ""]
        {
            assert!(custom_header(name, "v", "test").is_err(), "{name}");
        }
        for value in ["s3cr3t\n", "s3cr3té", "s3cr3t\0"] {
            let error = custom_header("X-A", value, "test").unwrap_err();
            assert!(!error.message.contains("s3cr3t"));
        }
        let cookie = custom_header("Cookie", "s3cr3t", "test").unwrap();
        assert!(cookie.value.is_sensitive());
    }

    #[test]
    fn put_replaces_without_case() {
        let mut list = Vec::new();
        put(&mut list, custom_header("X-A", "1", "test").unwrap());
        put(&mut list, custom_header("x-a", "2", "test").unwrap());
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].value, "2");
    }
}
