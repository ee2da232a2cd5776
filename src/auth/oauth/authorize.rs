//! The authorize URL and the secrets that belong to it. Called by `login`.
//! Invariant: state and verifier are made here, fresh for each login, and used once.

use crate::{
    model::{
        origin::{Family, Origin},
        refusal::{Code, Refusal},
        region::Region,
    },
    sys::http::HttpClient,
};
use oauth2::{
    AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    basic::BasicClient, url::Url,
};

/// The ports that a callback may come to; a registered client knows one of them.
pub const CALLBACK_PORTS: [u16; 4] = [19284, 19285, 19286, 19287];

/// One authorization request.
#[derive(Debug)]
pub struct Authorization {
    /// Where the browser is sent.
    pub url: Url,
    /// What must come back with the code.
    pub state: CsrfToken,
    /// Proves to the token endpoint that the code was asked for by us (RFC 7636).
    pub verifier: PkceCodeVerifier,
}

/// The redirect URI of a callback port.
///
/// # Errors
/// Never for a port; the URL parser's signature asks for it.
pub fn redirect_url(port: u16) -> Result<RedirectUrl, Refusal> {
    RedirectUrl::new(format!("http://localhost:{port}/callback")).map_err(|_| not_a_url())
}

/// A fresh authorization request. No scope is asked for: the server grants what it has.
///
/// # Errors
/// Never for a host of the table.
pub fn authorize(
    http: &HttpClient,
    region: Region,
    client_id: &ClientId,
    redirect: &RedirectUrl,
) -> Result<Authorization, Refusal> {
    let base = http.base(Origin::new(Family::App, region));
    let url = AuthUrl::new(format!("{base}/oauth/authorize/")).map_err(|_| not_a_url())?;
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let client =
        BasicClient::new(client_id.clone()).set_auth_uri(url).set_redirect_uri(redirect.clone());
    // RFC 9700 §2.1.1: S256 always, and a state of 128 random bits.
    let (url, state) =
        client.authorize_url(CsrfToken::new_random).set_pkce_challenge(challenge).url();
    Ok(Authorization { url, state, verifier })
}

fn not_a_url() -> Refusal {
    Refusal::new(Code::OauthTokenError, "the authorize URL cannot be made")
        .hint("check MP_PROXY_UPSTREAM")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::env::Env;
    use std::collections::BTreeMap;

    #[test]
    fn the_url_has_the_parameters_of_the_server_and_no_other() {
        let http = HttpClient::new(&Env::new([("HOME", "/h")], "/"), None);
        let make = || {
            let redirect = redirect_url(19285).unwrap();
            authorize(&http, Region::Eu, &ClientId::new("c 1".into()), &redirect).unwrap()
        };
        let (one, two) = (make(), make());
        assert_eq!(one.url.host_str(), Some("eu.mixpanel.com"));
        assert_eq!(one.url.path(), "/oauth/authorize/");
        let query: BTreeMap<_, _> = one.url.query_pairs().into_owned().collect();
        let names: Vec<_> = query.keys().map(String::as_str).collect();
        let wanted = [
            "client_id",
            "code_challenge",
            "code_challenge_method",
            "redirect_uri",
            "response_type",
            "state",
        ];
        assert_eq!(names, wanted);
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["redirect_uri"], "http://localhost:19285/callback");
        assert_eq!(&query["state"], one.state.secret());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&one.verifier);
        assert_eq!(query["code_challenge"], challenge.as_str());
        assert_ne!(one.state.secret(), two.state.secret());
        assert_ne!(one.verifier.secret(), two.verifier.secret());
        assert!(!format!("{one:?}").contains(one.verifier.secret()));
    }
}
