//! What comes back from the authorize page, by the browser or by paste: a pure reading of it.
//! Called by `callback` and `login`.
//! SECURITY: a code or an error counts only with the state of this login; what the query says
//! beyond words that RFC 6749 defines is never shown.

use crate::model::refusal::{Code, Refusal};
use oauth2::{AuthorizationCode, CsrfToken, url::form_urlencoded};
use subtle::ConstantTimeEq as _;

/// What a redirect says.
#[derive(Debug)]
pub enum Redirect {
    /// The consent, with its code.
    Code(AuthorizationCode),
    /// The server or the person said no.
    Denied(Refusal),
    /// It belongs to another login.
    OtherState,
    /// Neither code nor error, or one of them twice.
    Malformed,
}

/// Reads the query of a redirect that claims to answer the request with this `state`.
#[must_use]
pub fn read(query: &str, state: &CsrfToken) -> Redirect {
    let one = |name: &str| {
        let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        // RFC 6749 §3.1: no parameter twice.
        found.next().filter(|(_, value)| !value.is_empty() && found.next().is_none())
    };
    let (code, error) = (one("code"), one("error"));
    let Some((_, echo)) = one("state") else { return Redirect::Malformed };
    if !bool::from(echo.as_bytes().ct_eq(state.secret().as_bytes())) {
        return Redirect::OtherState;
    }
    match (code, error) {
        (_, Some((_, word))) => Redirect::Denied(denied(&word)),
        (Some((_, code)), None) => Redirect::Code(AuthorizationCode::new(code.into_owned())),
        (None, None) => Redirect::Malformed,
    }
}

/// Reads what a person pasted: the redirect URL, or its query.
///
/// # Errors
/// `OAUTH_AUTH_DENIED`, `OAUTH_STATE_MISMATCH`, or `OAUTH_PASTE_ERROR`.
pub fn read_paste(line: &str, state: &CsrfToken) -> Result<AuthorizationCode, Refusal> {
    let line = line.trim();
    let query = line.split_once('?').map_or(line, |(_, query)| query);
    let query = query.split('#').next().unwrap_or(query);
    match read(query, state) {
        Redirect::Code(code) => Ok(code),
        Redirect::Denied(refusal) => Err(refusal),
        Redirect::OtherState => Err(Refusal::new(
            Code::OauthStateMismatch,
            "the pasted text belongs to another login (its `state` differs)",
        )
        .hint("run the same command again, and paste what comes of the URL that it prints")),
        Redirect::Malformed => Err(Refusal::new(
            Code::OauthPasteError,
            "the pasted text has no `code` and `state`, or has one of them twice",
        )
        .hint("run the same command again, and paste the whole address of the page that cannot be opened: http://localhost:…/callback?code=…&state=…")),
    }
}

/// RFC 6749 §4.1.2.1.
fn denied(word: &str) -> Refusal {
    const CODE: Code = Code::OauthAuthDenied;
    match word {
        "access_denied" => Refusal::new(CODE, "the authorization was denied in the browser")
            .hint("run the same command again and press Authorize"),
        "server_error" | "temporarily_unavailable" => {
            Refusal::new(CODE, format!("the authorization server failed: `{word}`"))
                .hint("run the same command again in a few minutes")
        }
        "invalid_request" | "unauthorized_client" | "unsupported_response_type"
        | "invalid_scope" => {
            Refusal::new(CODE, format!("the authorization server refused the request: `{word}`"))
                .hint("remove `oauth/client_REGION.json` below ~/.mp (or MP_STORAGE_DIR) to register anew, then run the same command again")
        }
        _ => Refusal::new(CODE, "the authorization server refused, for a reason of its own")
            .hint("run the same command again; the page in the browser may say more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> CsrfToken {
        CsrfToken::new("st-1".into())
    }

    #[test]
    fn a_redirect_counts_only_with_the_state() {
        assert!(
            matches!(read("code=a%2Bb&state=st-1", &state()), Redirect::Code(code) if code.secret() == "a+b")
        );
        for query in ["code=c&state=st-2", "error=access_denied&state=st-", "code=c&state=st-1x"] {
            assert!(matches!(read(query, &state()), Redirect::OtherState), "{query}");
        }
        for query in [
            "",
            "code=c",
            "state=st-1",
            "code=&state=st-1",
            "code=a&code=b&state=st-1",
            "error=access_denied",
            "code=c&state=st-1&state=st-1",
        ] {
            assert!(matches!(read(query, &state()), Redirect::Malformed), "{query}");
        }
        let Redirect::Denied(refusal) = read("error=<s3cr3t>&code=c&state=st-1", &state()) else {
            panic!("not denied")
        };
        assert_eq!(refusal.code, Code::OauthAuthDenied);
        assert!(!refusal.message.contains("s3cr3t"));
    }

    #[test]
    fn each_word_of_the_server_has_its_own_advice() {
        let hint = |word: &str| {
            let query = format!("error={word}&state=st-1");
            let Redirect::Denied(refusal) = read(&query, &state()) else { panic!("{word}") };
            assert_eq!(refusal.code, Code::OauthAuthDenied);
            refusal.hint.unwrap()
        };
        assert!(hint("access_denied").contains("press Authorize"));
        for word in ["server_error", "temporarily_unavailable"] {
            assert!(hint(word).contains("in a few minutes"), "{word}");
        }
        let ours = ["invalid_request", "unauthorized_client", "unsupported_response_type"];
        for word in ours.into_iter().chain(["invalid_scope"]) {
            assert!(hint(word).contains("to register anew"), "{word}");
        }
        assert!(hint("other").contains("the page in the browser"));
    }

    #[test]
    fn a_paste_is_a_url_or_its_query() {
        for line in [
            " http://localhost:19284/callback?code=c&state=st-1 \n",
            "?code=c&state=st-1",
            "code=c&state=st-1#_=_",
        ] {
            assert_eq!(read_paste(line, &state()).unwrap().secret(), "c", "{line}");
        }
        for (line, code) in [
            ("s3cr3t", Code::OauthPasteError),
            ("http://localhost:19284/callback", Code::OauthPasteError),
            ("code=s3cr3t&state=other", Code::OauthStateMismatch),
            ("error=access_denied&state=st-1", Code::OauthAuthDenied),
        ] {
            let refusal = read_paste(line, &state()).unwrap_err();
            assert_eq!(refusal.code, code, "{line}");
            assert!(!refusal.to_string().contains("s3cr3t") && refusal.hint.is_some());
        }
    }
}
