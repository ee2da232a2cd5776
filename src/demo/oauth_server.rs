//! The OAuth server of the stand-in: registration, consent page, token endpoint.
//! Called by `stand_in`; tests turn its switches and read its counters.
//! Invariant: everything it hands out is random, made up, and known to this value only.

use super::{
    answers::{Body, html, json_answer, redirect},
    grants::{Asked, State, random},
    pages,
    switches::{Bearers, Counts, StateEcho, Switches},
};
use http::{Method, Response, StatusCode};
use oauth2::url::{Url, form_urlencoded};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The server.
#[derive(Default)]
pub struct OauthServer(Mutex<State>);

type Form = HashMap<String, String>;

impl OauthServer {
    /// Turns switches.
    pub fn set(&self, turn: impl FnOnce(&mut Switches)) {
        turn(&mut self.lock().switches);
    }

    /// Reads from the switches without a copy of them: a body among them can be long.
    pub(super) fn read<T>(&self, from: impl FnOnce(&Switches) -> T) -> T {
        from(&self.lock().switches)
    }

    /// The switches as they are.
    #[must_use]
    pub fn switches(&self) -> Switches {
        self.lock().switches.clone()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// A grant as a finished login gets it: the JSON of a token answer, and its client.
    #[must_use]
    pub fn mint(&self) -> (Value, String) {
        let client = random("client");
        (self.lock().grant_first(&client), client)
    }

    /// Ends every access token now; refresh tokens stay good.
    pub fn end_access_tokens(&self) {
        self.lock().access.clear();
    }

    /// Ends every login.
    pub fn revoke_everything(&self) {
        let mut state = self.lock();
        state.access.clear();
        state.refresh.clear();
    }

    /// Whether a bearer is good, as the switch has it.
    #[must_use]
    pub fn accepts(&self, bearer: &str) -> bool {
        let state = self.lock();
        state.switches.bearers == Bearers::Any || state.is_live(bearer)
    }

    /// Answers one request below `/oauth/`.
    pub(super) fn answer(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        body: &[u8],
    ) -> Response<Body> {
        match (method.as_str(), path) {
            ("POST", "/oauth/mcp/register/") => self.register(body),
            ("GET", "/oauth/authorize/") => self.authorize(&form(query.as_bytes())),
            ("POST", "/oauth/authorize/decide/") => self.decide(&form(body)),
            ("POST", "/oauth/token/") => self.token(&form(body)),
            _ => json_answer(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
        }
    }

    fn register(&self, body: &[u8]) -> Response<Body> {
        let mut state = self.lock();
        state.counts.registrations += 1;
        let wanted: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(redirect) = wanted["redirect_uris"][0].as_str() else {
            return json_answer(StatusCode::BAD_REQUEST, &json!({"error": "invalid_redirect_uri"}));
        };
        let client = random("client");
        state.clients.insert(client.clone(), redirect.to_owned());
        let answer = json!({
            "client_id": client, "redirect_uris": [redirect],
            "token_endpoint_auth_method": "none", "client_id_issued_at": 0,
        });
        json_answer(StatusCode::CREATED, &answer)
    }

    fn authorize(&self, query: &Form) -> Response<Body> {
        let mut state = self.lock();
        let get = |name: &str| query.get(name).cloned().unwrap_or_default();
        let asked = Asked {
            client: get("client_id"),
            redirect: get("redirect_uri"),
            state: get("state"),
            challenge: get("code_challenge"),
        };
        // RFC 9700 §4.1.3: exact match, and no redirect to a URI that is not registered.
        let known = state.clients.get(&asked.client) == Some(&asked.redirect);
        let sound = get("response_type") == "code" && get("code_challenge_method") == "S256";
        if !known || !sound || asked.challenge.is_empty() {
            return html(StatusCode::BAD_REQUEST, pages::bad_request());
        }
        state.counts.authorizations += 1;
        let id = random("ask");
        state.asked.insert(id.clone(), asked);
        html(StatusCode::OK, pages::consent(&id))
    }

    fn decide(&self, form: &Form) -> Response<Body> {
        let mut state = self.lock();
        let Some(asked) = form.get("ask").and_then(|id| state.asked.remove(id)) else {
            return html(StatusCode::BAD_REQUEST, pages::bad_request());
        };
        let Ok(mut url) = Url::parse(&asked.redirect) else {
            return html(StatusCode::BAD_REQUEST, pages::bad_request());
        };
        let echo = match state.switches.state {
            StateEcho::Same => asked.state.clone(),
            StateEcho::Other => random("state"),
        };
        if form.get("decision").is_some_and(|word| word == "allow") {
            let code = random("code");
            url.query_pairs_mut().append_pair("code", &code).append_pair("state", &echo);
            state.codes.insert(code, asked);
        } else {
            url.query_pairs_mut()
                .append_pair("error", "access_denied")
                .append_pair("error_description", "The person said no.")
                .append_pair("state", &echo);
        }
        redirect(url.as_str())
    }

    fn token(&self, form: &Form) -> Response<Body> {
        let mut state = self.lock();
        let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let granted = match get("grant_type") {
            "authorization_code" => state.exchange(
                get("code"),
                get("client_id"),
                get("redirect_uri"),
                get("code_verifier"),
            ),
            "refresh_token" => state.refresh(get("refresh_token"), get("client_id")),
            _ => Err("unsupported_grant_type"),
        };
        match granted {
            Ok(grant) => json_answer(StatusCode::OK, &grant),
            Err(word) => json_answer(StatusCode::BAD_REQUEST, &json!({"error": word})),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OauthServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OauthServer").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

fn form(text: &[u8]) -> Form {
    form_urlencoded::parse(text).into_owned().collect()
}
