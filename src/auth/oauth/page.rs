//! The page that the browser lands on after the login. Made by `callback`.
//! Invariant: static HTML without script or outside resource, readable in light and dark; every
//! text that is not ours is escaped.

use crate::model::refusal::Refusal;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use oauth2::CsrfToken;

/// What the page says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The login succeeded, as this user.
    Done(Option<String>),
    /// Mixpanel accepted it, and a person has yet to choose on the terminal.
    Accepted(Option<String>),
    /// It did not, and why.
    Failed {
        /// The code.
        code: &'static str,
        /// What was wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The request has nothing to do with the login that waits here.
    Stray(StatusCode, &'static str),
    /// The login is over already.
    Over,
}

impl Page {
    /// The failure that this refusal is.
    #[must_use]
    pub fn failed(refusal: &Refusal) -> Self {
        Self::Failed {
            code: refusal.code.as_str(),
            message: refusal.message.clone(),
            hint: refusal.hint.clone().unwrap_or_default(),
        }
    }

    /// The whole answer.
    #[must_use]
    pub fn response(&self) -> Response<Full<Bytes>> {
        let nonce = CsrfToken::new_random_len(16).into_secret();
        let mut response = Response::new(Full::new(Bytes::from(self.html(&nonce))));
        *response.status_mut() = match self {
            Self::Done(_) | Self::Accepted(_) => StatusCode::OK,
            Self::Failed { .. } => StatusCode::BAD_REQUEST,
            Self::Stray(status, _) => *status,
            Self::Over => StatusCode::GONE,
        };
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let fields = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, policy.as_str()),
            // The address has the code in it: it goes to no other site and into no cache.
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONNECTION, "close"),
        ];
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn html(&self, nonce: &str) -> String {
        let (class, title, text, more) = match self {
            Self::Done(user) => (
                "good",
                "Logged in",
                format!("mp-proxy is logged in to Mixpanel{}.", as_user(user.as_deref())),
                "Go back to the terminal. You can close this page.".into(),
            ),
            Self::Accepted(user) => (
                "good",
                "One thing is left",
                format!("Mixpanel knows you{}.", as_user(user.as_deref())),
                "Go back to the terminal and choose a project. You can close this page.".into(),
            ),
            Self::Failed { code, message, hint } => (
                "bad",
                "The login failed",
                format!("{}<br><code>{code}</code>", escape(message)),
                format!("{}<br>You can close this page.", escape(hint)),
            ),
            Self::Stray(_, what) => (
                "bad",
                "Nothing here",
                (*what).to_owned(),
                "A login of mp-proxy waits on this port, and goes on waiting.".into(),
            ),
            Self::Over => (
                "bad",
                "Already used",
                "This login is over: its answer came before.".into(),
                "Look at the terminal. You can close this page.".into(),
            ),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title} · mp-proxy</title>\
             <style nonce=\"{nonce}\">{STYLE}</style></head>\
             <body><main class=\"{class}\"><h1>{title}</h1><p>{text}</p><p>{more}</p></main></body></html>\n"
        )
    }
}

const STYLE: &str = ":root{color-scheme:light dark}\
body{font:17px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;\
background:#f6f6f8;color:#1c1c22}\
main{max-width:34em;margin:1em;padding:1.5em 2em;background:#fff;border-top:6px solid #1b7f4d;\
border-radius:8px;box-shadow:0 1px 4px #0003}\
main.bad{border-color:#b3261e}h1{font-size:1.4em;margin:0 0 .5em}p{margin:.5em 0}\
code{overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{background:#18181c;color:#e8e8ee}main{background:#24242a}}";

fn as_user(user: Option<&str>) -> String {
    user.map_or_else(String::new, |user| format!(" as <b>{}</b>", escape(user)))
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::refusal::Code;

    #[test]
    fn no_page_has_script_or_outside_resource_and_texts_are_escaped() {
        let evil = "<script src=//evil>&\"'";
        let refusal = Refusal::new(Code::OauthTokenError, evil).hint(evil);
        let pages = [
            Page::Done(None),
            Page::Done(Some(evil.into())),
            Page::Accepted(Some(evil.into())),
            Page::failed(&refusal),
            Page::Stray(StatusCode::NOT_FOUND, "x"),
            Page::Over,
        ];
        for page in pages {
            let html = page.html("n0nce");
            for bad in ["<script", "src=", "href", "http", "<link", "<img", "onload", "url("] {
                assert!(!html.replace("&lt;script src=", "").contains(bad), "{bad} in {html}");
            }
            assert!(html.contains("prefers-color-scheme:dark"));
            let response = page.response();
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
        }
        assert!(Page::failed(&refusal).html("n").contains("OAUTH_TOKEN_ERROR"));
        let escaped = "&lt;script src=//evil&gt;&amp;&quot;&#39;";
        assert!(Page::failed(&refusal).html("n").contains(&format!("<p>{escaped}<br>")));
        let done = Page::Done(Some(evil.into())).html("n");
        assert!(done.contains(&format!(" as <b>{escaped}</b>.")), "{done}");
        assert!(Page::Done(None).html("n").contains("logged in to Mixpanel."));
    }
}
