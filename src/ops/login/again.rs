//! Logging in an account that is in the config already. Called by `account login` and by the
//! guided login. Invariant: type, region and project stay what they are; a project is only filled
//! in where there is none.

use super::{
    Doors, Request, authorization,
    book::Book,
    fresh::browser,
    identify,
    kind::{Kind, collect},
    project::{backfill, cross_check},
    summary,
};
use crate::{
    auth::me,
    model::{
        account::{Account, Credential},
        id::Name,
        me::Me,
        refusal::Refusal,
    },
    ops::accounts::{AccountSummary, Identity},
    store::{clients, tokens},
};
use serde::Serialize;
use std::path::PathBuf;

/// The outcome of logging one account in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OAuthLoginResult {
    /// The account.
    pub account_name: String,
    /// Who it is, if `/me` said so.
    pub user: Option<Identity>,
    /// When the access token expires, ISO 8601.
    pub expires_at: Option<String>,
    /// Where the tokens are.
    pub tokens_path: PathBuf,
    /// Where the client of the region is.
    pub client_path: PathBuf,
}

/// Logs an `oauth_browser` account of the config in, again or for the first time.
///
/// # Errors
/// `CONFIG_ERROR` for another type, a project of another region or a file that cannot be
/// written; all of [`crate::auth::oauth::login::login`]; `OAUTH_TOKEN_ERROR` if `/me` does not
/// accept the new token.
pub async fn account(doors: Doors<'_>, name: &Name) -> Result<OAuthLoginResult, Refusal> {
    let book = Book::open(doors.env)?;
    let account = book.account(name)?.ok_or_else(|| book.unknown(name))?;
    if !matches!(account.credential, Credential::OauthBrowser) {
        return Err(Refusal::config(format!(
            "account `{name}` is of type `{}`, and only `oauth_browser` logs in",
            account.type_name()
        ))
        .hint(format!("to renew its secret or token, run: mp-proxy account update {name}")));
    }
    let (_, me, expires_at) = refresh(doors, &book, &account, |_, _| Ok(())).await?;
    // Without a place for files the login would have failed before.
    Ok(OAuthLoginResult {
        account_name: name.to_string(),
        user: me.user_id.zip(me.user_email).map(|(id, email)| Identity { id, email }),
        expires_at,
        tokens_path: tokens::path(doors.env, name).unwrap_or_default(),
        client_path: clients::path(doors.env, account.region).unwrap_or_default(),
    })
}

/// The browser's part: new tokens, a project if there was none, and what else is to be written
/// before the browser hears of it.
async fn refresh(
    doors: Doors<'_>,
    book: &Book<'_>,
    account: &Account,
    then: fn(&Book<'_>, &Name) -> Result<(), Refusal>,
) -> Result<(Account, Me, Option<String>), Refusal> {
    let name = &account.name;
    let command = format!("mp-proxy account login {name}");
    let fresh = browser(doors, book, account.region, Some(name), &command).await?;
    let project = account.default_project.clone().or_else(|| backfill(&fresh.me, account.region));
    let written = cross_check(&fresh.me, project.as_ref(), account.region)
        .and_then(|()| book.refresh(account, fresh.tokens(), project.as_ref()))
        .and_then(|()| then(book, name));
    let (fresh, ()) = fresh.show(written).await?;
    me::remember(account, &fresh.tokens().login(), &fresh.me, doors.env);
    let expires_at = tokens::to_value(fresh.tokens())["expires_at"].as_str().map(Into::into);
    Ok((Account { default_project: project, ..account.clone() }, fresh.me, expires_at))
}

/// Renews the credential of an account for the guided login, and activates it.
pub(super) async fn renew(
    doors: Doors<'_>,
    book: &Book<'_>,
    request: &Request,
    kind: Kind,
    existing: &Account,
) -> Result<AccountSummary, Refusal> {
    let name = &existing.name;
    let remove = format!("take another --name, or run first: mp-proxy account remove {name}");
    if existing.type_name() != kind.as_str() {
        return Err(Refusal::config(format!(
            "account `{name}` is of type `{}` and a login cannot make it `{}`",
            existing.type_name(),
            kind.as_str()
        ))
        .hint(remove));
    }
    if let Some(region) = request.region.filter(|region| *region != existing.region) {
        return Err(Refusal::config(format!(
            "account `{name}` is in region `{}` and a login cannot move it to `{region}`",
            existing.region
        ))
        .hint(remove));
    }
    if let Some(project) = &request.project {
        doors.person.note(&format!(
            "--project is not used when an account logs in again; to change it, run: mp-proxy project use {project}"
        ));
    }
    if kind == Kind::OauthBrowser {
        let (account, me, _) =
            refresh(doors, book, existing, |book, name| book.activate(name)).await?;
        return summary(&account, &me, doors.env);
    }
    let credential = collect(kind, &request.told, doors.env, Some(&existing.credential))?;
    let authorization = authorization(&credential, doors.env)?;
    let command = format!("mp-proxy login --name {name}{}", kind.flag());
    let me = identify(doors, book, existing.region, &authorization, &command).await?;
    let account = Account { credential, ..existing.clone() };
    book.renew(&account)?;
    me::remember(&account, &authorization.login(), &me, doors.env);
    summary(&account, &me, doors.env)
}
