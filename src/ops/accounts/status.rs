//! What this machine knows of an account without asking anybody. Called by the summaries.
//! Invariant: nothing is written and nothing is sent.

use crate::{
    auth::me::remembered,
    model::account::{Account, Credential, TokenSource},
    store::{snapshot::Snapshot, tokens},
    sys::clock,
};
use secrecy::ExposeSecret as _;
use serde::Serialize;

/// What is known of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// `/me` accepted it within the last day.
    Ok,
    /// A browser login is missing or has run out.
    NeedsLogin,
    /// The static token is empty, or its variable is not set.
    NeedsToken,
    /// It is there, and nobody has tried it lately.
    Untested,
}

/// The status, and what `/me` said if it is remembered.
pub(super) struct Known {
    pub(super) status: Status,
    pub(super) user_email: Option<String>,
    pub(super) project_name: Option<String>,
}

pub(super) fn known(snapshot: &Snapshot, account: &Account) -> Known {
    let env = snapshot.env.as_ref();
    let me = remembered(account, env);
    let status = match missing(snapshot, account) {
        Status::Untested if me.is_some() => Status::Ok,
        status => status,
    };
    let project = account.default_project.as_ref();
    Known {
        status,
        project_name: me
            .as_ref()
            .and_then(|me| Some(me.project(project?)?.name.clone()))
            .filter(|name| !name.is_empty()),
        user_email: me.and_then(|me| me.user_email),
    }
}

fn missing(snapshot: &Snapshot, account: &Account) -> Status {
    let env = snapshot.env.as_ref();
    let usable = match &account.credential {
        Credential::ServiceAccount { .. } => return Status::Untested,
        Credential::OauthToken(TokenSource::Inline(token)) => !token.expose_secret().is_empty(),
        Credential::OauthToken(TokenSource::Env(name)) => env.get(name).is_some(),
        Credential::OauthBrowser => {
            let lasts = |tokens: &crate::model::tokens::Tokens| {
                tokens.refresh_token.is_some() || !tokens.is_expired(clock::now_micros())
            };
            // A bridge that brings this very account is as good as a login here.
            let bridge = snapshot.bridge.as_ref().ok().and_then(Option::as_ref);
            let bridged = bridge.and_then(|bridge| bridge.tokens_of(account));
            let on_disk = || tokens::load(env, &account.name).ok().flatten();
            let usable = bridged.is_some_and(|tokens| lasts(tokens))
                || on_disk().is_some_and(|tokens| lasts(&tokens));
            return if usable { Status::Untested } else { Status::NeedsLogin };
        }
    };
    if usable { Status::Untested } else { Status::NeedsToken }
}
