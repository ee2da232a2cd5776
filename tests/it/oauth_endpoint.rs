//! Registration and token endpoint over real sockets: what the stand-in grants, what it refuses,
//! and every fault of it with its code.

use crate::support::Upstream;
use mp_proxy::{
    auth::oauth::{
        authorize::{Authorization, authorize, redirect_url},
        endpoint::Endpoint,
    },
    demo::switches::{Bearers, Fault, Renewal},
    model::{
        id::Name,
        refusal::{Code, Refusal},
        region::Region,
    },
    sys::{env::Env, http::HttpClient},
};
use oauth2::{AuthorizationCode, ClientId, PkceCodeVerifier, url::Url};
use secrecy::{ExposeSecret as _, SecretString};
use std::{net::TcpListener, time::Duration};

fn client(upstream: &str) -> HttpClient {
    HttpClient::from_env(&Env::new([("MP_PROXY_UPSTREAM", upstream)], "/")).unwrap()
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn account() -> Name {
    Name::parse("me").unwrap()
}

fn press(authorization: &Authorization, decision: &str) -> Url {
    crate::login_support::press(&authorization.url, decision)
}

fn code(url: &Url) -> AuthorizationCode {
    let code = url.query_pairs().find(|(name, _)| name == "code").expect("a code").1;
    AuthorizationCode::new(code.into_owned())
}

#[test]
fn a_code_is_exchanged_once_and_a_reused_refresh_token_ends_the_login() {
    let upstream = Upstream::start();
    let http = client(&upstream.url());
    let endpoint = Endpoint::new(http.clone(), Region::Eu);
    let redirect = redirect_url(19284).unwrap();
    let id = block(endpoint.register(&redirect)).unwrap();
    let asked = authorize(&http, Region::Eu, &id, &redirect).unwrap();
    let back = press(&asked, "allow");
    assert!(back.as_str().starts_with("http://localhost:19284/callback?code="), "{back}");
    assert!(back.query_pairs().any(|(k, v)| k == "state" && v == asked.state.secret().as_str()));

    let copy = PkceCodeVerifier::new(asked.verifier.secret().clone());
    let grant = block(endpoint.exchange(&id, &redirect, code(&back), asked.verifier)).unwrap();
    assert_eq!((grant.expires_in, grant.scope.as_str()), (36_000, "projects analysis"));
    let again = block(endpoint.exchange(&id, &redirect, code(&back), copy)).unwrap_err();
    assert_eq!(again.code, Code::OauthTokenError);

    let oauth = upstream.stand_in.as_ref().unwrap().oauth();
    oauth.set(|switches| switches.bearers = Bearers::Granted);
    assert!(oauth.accepts(grant.access_token.expose_secret()));
    let first = grant.refresh_token.unwrap();
    let renewed = block(endpoint.refresh(&account(), &id, &first)).unwrap();
    let second = renewed.refresh_token.clone().unwrap();
    assert_ne!(first.expose_secret(), second.expose_secret());
    let reused = block(endpoint.refresh(&account(), &id, &first)).unwrap_err();
    assert_eq!(reused.code, Code::OauthRefreshRevoked);
    assert_eq!(reused.hint.as_deref(), Some("run: mp-proxy account login me"));
    let dead = block(endpoint.refresh(&account(), &id, &second)).unwrap_err();
    assert_eq!(dead.code, Code::OauthRefreshRevoked);
    assert!(!oauth.accepts(renewed.access_token.expose_secret()), "the family is not revoked");
    let counts = oauth.counts();
    assert_eq!((counts.refreshes, counts.refused_refreshes, counts.revoked_families), (3, 2, 1));
    let arrived = upstream.last();
    assert_eq!(
        crate::support::header(&arrived, "x-mp-proxy-origin"),
        Some("https://eu.mixpanel.com")
    );
}

#[test]
fn a_wrong_verifier_client_or_redirect_gets_nothing() {
    let upstream = Upstream::start();
    let http = client(&upstream.url());
    let endpoint = Endpoint::new(http.clone(), Region::Us);
    let (redirect, other) = (redirect_url(19284).unwrap(), redirect_url(19285).unwrap());
    let id = block(endpoint.register(&redirect)).unwrap();
    for (client, to, verifier) in [
        (&id, &redirect, PkceCodeVerifier::new("w".repeat(43))),
        (&id, &other, PkceCodeVerifier::new(String::new())),
        (&ClientId::new("somebody".into()), &redirect, PkceCodeVerifier::new(String::new())),
    ] {
        let asked = authorize(&http, Region::Us, &id, &redirect).unwrap();
        let back = press(&asked, "allow");
        let verifier = if verifier.secret().is_empty() { asked.verifier } else { verifier };
        let refused = block(endpoint.exchange(client, to, code(&back), verifier)).unwrap_err();
        assert_eq!(refused.code, Code::OauthTokenError);
        assert!(refused.message.contains("invalid_grant"), "{refused}");
    }
    let asked = authorize(&http, Region::Us, &id, &redirect).unwrap();
    let denied = press(&asked, "deny");
    assert!(denied.query().unwrap().contains("error=access_denied"), "{denied}");
}

#[test]
fn a_refresh_token_that_is_kept_stays_good() {
    let upstream = Upstream::start();
    let oauth = upstream.stand_in.as_ref().unwrap().oauth();
    oauth.set(|switches| switches.renewal = Renewal::Keep);
    let (grant, id) = oauth.mint();
    let endpoint = Endpoint::new(client(&upstream.url()), Region::Us);
    let refresh = SecretString::from(grant["refresh_token"].as_str().unwrap());
    for _ in 0..2 {
        let renewed =
            block(endpoint.refresh(&account(), &ClientId::new(id.clone()), &refresh)).unwrap();
        assert!(renewed.refresh_token.is_none());
        let tokens = renewed.into_tokens(0, &ClientId::new(id.clone()), Some(refresh.clone()));
        assert_eq!(tokens.refresh_token.unwrap().expose_secret(), refresh.expose_secret());
        assert_eq!(tokens.expires_at_micros, 36_000_000_000);
        assert_eq!(tokens.client_id.as_deref(), Some(id.as_str()));
    }
}

/// Nothing of a token or of a body is in what people and logs see.
fn clean(refusal: &Refusal) {
    let text = format!("{refusal} {refusal:?}");
    for secret in ["demo-", "s3cr3t", "xxxx", "asked for by the test"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(refusal.hint.is_some(), "{refusal} has no hint");
}

#[test]
fn every_fault_of_the_server_has_its_code_and_shows_no_body() {
    let upstream = Upstream::start();
    let oauth = upstream.stand_in.as_ref().unwrap().oauth();
    let endpoint = Endpoint::new(client(&upstream.url()), Region::Us);
    let (grant, id) = oauth.mint();
    let id = ClientId::new(id);
    let refresh = SecretString::from(grant["refresh_token"].as_str().unwrap());
    let redirect = redirect_url(19284).unwrap();
    let body = |text: &str| Fault::Body(text.to_owned());
    let faults = [
        Fault::Status(503, None),
        Fault::Status(403, None),
        Fault::Status(302, None),
        // An error word of the server's own making.
        Fault::Status(400, None),
        Fault::Status(401, None),
        Fault::Huge(2 * 1024 * 1024),
        Fault::Cut,
        body(""),
        body("s3cr3t"),
        body("\"s3cr3t\""),
        body(r#"{"access_token": "s3cr3t", "token_type": "Bearer"}"#),
        body(r#"{"access_token": "s3cr3t", "expires_in": 5}"#),
        body(r#"{"access_token": "", "token_type": "Bearer", "expires_in": 5}"#),
        body(r#"{"access_token": {"s3cr3t": 1}, "token_type": "Bearer", "expires_in": 5}"#),
        body(r#"{"access_token": "s3cr3t", "token_type": "Bearer", "expires_in": -1}"#),
        body(r#"{"result": {"access_token": "s3cr3t"}}"#),
    ];
    for fault in faults {
        oauth.set(|switches| switches.token = fault.clone());
        let refused = block(endpoint.refresh(&account(), &id, &refresh)).unwrap_err();
        assert_eq!(refused.code, Code::OauthRefreshError, "{fault:?}");
        clean(&refused);
        let code = AuthorizationCode::new("x".into());
        let verifier = PkceCodeVerifier::new("v".repeat(43));
        let refused = block(endpoint.exchange(&id, &redirect, code, verifier)).unwrap_err();
        assert_eq!(refused.code, Code::OauthTokenError, "{fault:?}");
        clean(&refused);
        oauth.set(|switches| switches.register = fault.clone());
        if matches!(&fault, Fault::Huge(_) | Fault::Cut | Fault::Status(..) | Fault::Body(_)) {
            let refused = block(endpoint.register(&redirect)).unwrap_err();
            assert_eq!(refused.code, Code::OauthRegistrationError, "{fault:?}");
            clean(&refused);
        }
    }
    assert_eq!(oauth.counts().refreshes, 0);
    let targets = upstream.received().into_iter().map(|received| received.target);
    assert!(!targets.into_iter().any(|target| target == "/followed"), "a redirect was followed");
    for (fault, seconds) in
        [(Fault::Status(429, Some(7)), Some(7)), (Fault::Status(429, None), None)]
    {
        oauth.set(|switches| (switches.register, switches.token) = (fault.clone(), fault.clone()));
        let refused = block(endpoint.register(&redirect)).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::OauthRegistrationError, seconds));
        clean(&refused);
        let refused = block(endpoint.refresh(&account(), &id, &refresh)).unwrap_err();
        assert_eq!((refused.code, refused.retry_after), (Code::OauthRefreshError, seconds));
    }
    oauth.set(|switches| switches.token = Fault::Slow(Duration::from_millis(50)));
    assert!(block(endpoint.refresh(&account(), &id, &refresh)).is_ok());
}

#[test]
fn a_server_that_is_down_and_variables_that_are_wrong_are_named() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let redirect = redirect_url(19284).unwrap();
    let endpoint = Endpoint::new(client(&format!("http://{dead}")), Region::Us);
    let refused = block(endpoint.register(&redirect)).unwrap_err();
    assert_eq!(refused.code, Code::OauthRegistrationError);
    assert!(refused.message.contains("cannot connect"), "{refused}");
    let bad = Env::new([("MP_PROXY_UPSTREAM", "http://example.com")], "/");
    assert_eq!(HttpClient::from_env(&bad).unwrap_err().code, Code::InvalidArgument);
    // A proxy that is not there: the call must end at it and not go around it.
    let proxy = format!("http://user:s3cr3t@{dead}");
    let env = Env::new([("HTTPS_PROXY", proxy.as_str())], "/");
    let refused = block(Endpoint::new(HttpClient::new(&env, None), Region::Us).register(&redirect));
    clean(&refused.unwrap_err());
    let env = Env::new([("https_proxy", "s3cr3t://")], "/");
    let refused = block(Endpoint::new(HttpClient::new(&env, None), Region::Us).register(&redirect));
    let refused = refused.unwrap_err();
    assert!(refused.message.contains("HTTPS_PROXY"), "{refused}");
    clean(&refused);
    let env = Env::new([("SSL_CERT_FILE", "/nowhere.pem")], "/");
    let refused = block(Endpoint::new(HttpClient::new(&env, None), Region::Us).register(&redirect));
    assert!(refused.unwrap_err().hint.unwrap().contains("SSL_CERT_FILE"));
}
