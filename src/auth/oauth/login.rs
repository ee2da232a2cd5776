//! One login in the browser, from the registration to the grant. Called by `ops::login`.
//! Invariants: nothing of the grant touches the disk here; the page that the browser waits for is
//! answered whatever happens; state and verifier die with the attempt.

use super::{
    authorize::{Authorization, CALLBACK_PORTS, authorize},
    callback::{Arrival, Callback, Closer},
    endpoint::{Endpoint, SCOPE},
    page::Page,
    redirect::read_paste,
};
use crate::{
    model::{
        id::Name,
        refusal::{Code, Refusal},
        region::Region,
        tokens::Tokens,
    },
    store::clients::{self, Client, Kept},
    sys::{clock, env::Env, http::HttpClient},
};
pub use oauth2::url::Url;
use oauth2::{AuthorizationCode, ClientId, RedirectUrl};
use std::{future::pending, time::Duration};
use tokio::sync::oneshot;

/// How long a person has for the browser.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// A line that a person pastes, if he ever does.
pub type Paste = oneshot::Receiver<String>;

/// How a login talks to the person.
pub trait Person: Send + Sync {
    /// What goes on from now on, until the next call.
    fn progress(&self, what: &str);

    /// Something to know.
    fn note(&self, text: &str);

    /// Opens the URL, or shows it; gives a receiver if the redirect may be pasted.
    ///
    /// # Errors
    /// `OAUTH_BROWSER_ERROR` if the URL can be neither opened nor shown.
    fn visit(&self, url: &Url) -> Result<Option<Paste>, Refusal>;
}

/// What a login needs to know.
pub struct Attempt<'a> {
    /// The environment.
    pub env: &'a Env,
    /// The client for calls.
    pub http: &'a HttpClient,
    /// The region whose server is asked.
    pub region: Region,
    /// The account that is logged in again, if it has a name yet.
    pub account: Option<&'a Name>,
    /// The region of a configured account.
    pub region_of: &'a (dyn Fn(&Name) -> Option<Region> + Sync),
    /// How long to wait for the browser.
    pub timeout: Duration,
}

impl std::fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt").field("region", &self.region).finish_non_exhaustive()
    }
}

/// A grant that nothing is known of yet but that the server gave it.
#[derive(Debug)]
pub struct Granted {
    /// The tokens, with the client that may refresh them.
    pub tokens: Tokens,
    /// The page that the browser waits for, until it has it.
    pub page: Option<PendingPage>,
}

/// A browser that waits for its page; dropped without a word it gets a neutral one.
#[derive(Debug)]
pub struct PendingPage {
    page: Option<oneshot::Sender<Page>>,
    closer: Closer,
}

impl PendingPage {
    /// Sends the page and ends the listening.
    pub async fn finish(self, page: Page) {
        if let Some(waiting) = self.page {
            let _ = waiting.send(page);
        }
        self.closer.close().await;
    }
}

/// Runs the login until there is a grant.
///
/// # Errors
/// `OAUTH_PORT_ERROR`, `OAUTH_REGISTRATION_ERROR`, `OAUTH_BROWSER_ERROR`, `OAUTH_AUTH_DENIED`,
/// `OAUTH_STATE_MISMATCH` and `OAUTH_PASTE_ERROR` (paste), `OAUTH_TIMEOUT`, `OAUTH_TOKEN_ERROR`;
/// `CONFIG_ERROR` without a place for files.
pub async fn login(attempt: &Attempt<'_>, person: &dyn Person) -> Result<Granted, Refusal> {
    // The server limits registrations: none for a login that could not be kept.
    clients::place(attempt.env, attempt.region)?;
    let known = clients::load(attempt.env, attempt.region).ok().flatten();
    let callback = Callback::bind(known.as_ref().and_then(port_of)).await?;
    let redirect = callback.redirect()?;
    let endpoint = Endpoint::new(attempt.http.clone(), attempt.region);
    let client_id = match known {
        Some(client) if client.redirect_uri == redirect.as_str() => ClientId::new(client.client_id),
        _ => register(attempt, &endpoint, &redirect, person).await?,
    };
    let Authorization { url, state, verifier } =
        authorize(attempt.http, attempt.region, &client_id, &redirect)?;
    let mut listening = callback.listen(&state);
    let paste = person.visit(&url)?;
    person.progress(&format!(
        "waiting for the browser, {} seconds at most",
        attempt.timeout.as_secs()
    ));
    let pasted = async {
        match paste {
            // A closed stdin is no paste: the browser may still come.
            Some(paste) => match paste.await {
                Ok(line) => line,
                Err(_) => pending().await,
            },
            None => pending().await,
        }
    };
    // The first who completes wins.
    let (outcome, page) = tokio::select! {
        arrived = &mut listening.arrival => match arrived {
            Ok(Arrival { outcome, page }) => (outcome, Some(page)),
            Err(_) => (Err(timed_out(attempt, listening.other_states())), None),
        },
        line = pasted => (read_paste(&line, &state), None),
        () = tokio::time::sleep(attempt.timeout) => {
            (Err(timed_out(attempt, listening.other_states())), None)
        }
    };
    let page = PendingPage { page, closer: listening.closer };
    let exchanged = match outcome {
        Ok(code) => {
            person.progress("exchanging the code for tokens");
            exchange(&endpoint, &client_id, &redirect, code, verifier).await
        }
        Err(refusal) => Err(refusal),
    };
    match exchanged {
        Ok(tokens) => Ok(Granted { tokens, page: Some(page) }),
        Err(refusal) => {
            page.finish(Page::failed(&refusal)).await;
            Err(refusal)
        }
    }
}

async fn exchange(
    endpoint: &Endpoint,
    client_id: &ClientId,
    redirect: &RedirectUrl,
    code: AuthorizationCode,
    verifier: oauth2::PkceCodeVerifier,
) -> Result<Tokens, Refusal> {
    let grant = endpoint.exchange(client_id, redirect, code, verifier).await?;
    Ok(grant.into_tokens(clock::now_micros(), client_id, None))
}

async fn register(
    attempt: &Attempt<'_>,
    endpoint: &Endpoint,
    redirect: &RedirectUrl,
    person: &dyn Person,
) -> Result<ClientId, Refusal> {
    person.progress(&format!("registering with the OAuth server of region `{}`", attempt.region));
    let client_id = endpoint.register(redirect).await?;
    let client = Client {
        client_id: client_id.as_str().to_owned(),
        redirect_uri: redirect.as_str().to_owned(),
    };
    // Kept at once, though the login may yet fail: the server limits registrations.
    let kept = clients::keep(
        attempt.env,
        attempt.region,
        &client,
        SCOPE,
        attempt.account,
        attempt.region_of,
    )?;
    if let Kept::Elsewhere(names) = kept {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        person.note(&format!(
            "the usual callback port is taken, so this login has a client of its own, kept beside its tokens; \
             the client file stays as account {} needs it. `mp` does not know such clients: it cannot refresh this login",
            names.join(", ")
        ));
    }
    Ok(client_id)
}

/// The port that a client is registered for, if it is one that we may listen on.
fn port_of(client: &Client) -> Option<u16> {
    let port = Url::parse(&client.redirect_uri).ok()?.port()?;
    CALLBACK_PORTS.contains(&port).then_some(port)
}

fn timed_out(attempt: &Attempt<'_>, other_states: usize) -> Refusal {
    let seconds = attempt.timeout.as_secs();
    let refusal = Refusal::new(
        Code::OauthTimeout,
        format!("nobody came back from the browser within {seconds} seconds"),
    );
    if other_states == 0 {
        return refusal.hint("run the same command again; with --no-browser the address of the last page can be pasted");
    }
    Refusal {
        message: format!("{refusal}, except {other_states} with the `state` of another login"),
        ..refusal
    }
    .reason(Code::OauthStateMismatch)
    .hint("run the same command again, and use only the page that it opens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_tells_its_port_if_it_is_one_of_ours() {
        let port = |uri: &str| port_of(&Client { client_id: "c".into(), redirect_uri: uri.into() });
        assert_eq!(port("http://localhost:19286/callback"), Some(19286));
        for other in ["http://localhost:19288/callback", "http://localhost/callback", "x"] {
            assert_eq!(port(other), None, "{other}");
        }
    }

    #[test]
    fn a_wait_in_vain_says_whether_somebody_else_came() {
        let env = Env::new([("HOME", "/h")], "/");
        let attempt = Attempt {
            env: &env,
            http: &HttpClient::new(&env, None),
            region: Region::Us,
            account: None,
            region_of: &|_| None,
            timeout: Duration::from_secs(7),
        };
        assert!(format!("{attempt:?}").starts_with("Attempt { region: Us"));
        let nobody = timed_out(&attempt, 0);
        assert_eq!((nobody.code, nobody.reason), (Code::OauthTimeout, None));
        assert!(nobody.message.ends_with("within 7 seconds"), "{nobody}");
        let others = timed_out(&attempt, 2);
        let codes = (others.code, others.reason);
        assert_eq!(codes, (Code::OauthTimeout, Some(Code::OauthStateMismatch)));
        assert!(others.message.contains("except 2 with the `state` of another"), "{others}");
    }
}
