//! Logging in: the guided [`unified`] login; [`account()`] logs one account in that is there.
//! Called by the commands `login` and `account login`.
//! Invariant: nothing is written before `/me` accepted the credential and the project was found
//! to be in its region; a failure leaves everything as it was, but for a registered client.
//!
//! ```
//! # #[cfg(feature = "demo")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mp_proxy::{
//!     auth::oauth::login::{Paste, Person, Url},
//!     model::refusal::Refusal,
//!     ops::login::{Doors, Request, unified},
//!     sys::{env::Env, http::HttpClient},
//! };
//! use std::time::Duration;
//!
//! /// Who talks to the person; a browser login asks it to open the address.
//! struct Console;
//!
//! impl Person for Console {
//!     fn progress(&self, what: &str) {
//!         println!("{what} …");
//!     }
//!     fn note(&self, text: &str) {
//!         println!("{text}");
//!     }
//!     fn visit(&self, url: &Url) -> Result<Option<Paste>, Refusal> {
//!         println!("open {url}");
//!         Ok(None)
//!     }
//! }
//!
//! let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
//! # // A stand-in for Mixpanel.
//! # let mixpanel = runtime.block_on(mp_proxy::demo::stand_in::StandIn::start())?;
//! # let url = format!("http://{}", mixpanel.addr());
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! let env = Env::new(
//!     [
//!         ("HOME", home.to_str().unwrap()),
//!         ("MP_USERNAME", "reports"),
//!         ("MP_SECRET", "hunter2"),
//! #       ("MP_PROXY_UPSTREAM", url.as_str()),
//!     ],
//!     home,
//! );
//! let http = HttpClient::from_env(&env)?;
//! let doors = Doors { env: &env, http: &http, person: &Console, timeout: Duration::from_secs(300) };
//! // Of several projects the first; type, region and name are found out.
//! let first = |choices: &[_]| Ok((!choices.is_empty()).then_some(0));
//! let account = runtime.block_on(unified(doors, &Request::default(), &first))?;
//! assert_eq!((account.kind, account.is_active), ("service_account", true));
//! # let _inside = runtime.enter();
//! # drop(mixpanel);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "demo"))]
//! # fn main() {}
//! ```

mod again;
pub mod book;
pub mod found;
mod fresh;
pub mod kind;
pub mod naming;
pub mod project;
pub mod region;
pub mod who;

use crate::{
    auth::{
        credential::Authorization,
        me,
        oauth::{login::Person, page::Page},
    },
    model::{
        account::{Account, Credential, TokenSource},
        id::{Name, ProjectId},
        me::Me,
        refusal::{Code, Refusal},
        region::Region,
    },
    ops::accounts::{self, AccountSummary, Status},
    sys::{env::Env, http::HttpClient},
};
pub use again::{OAuthLoginResult, account};
use book::Book;
use fresh::{Fresh, browser};
use kind::{Kind, Told, collect, detect};
use project::{Chosen, Picker, choose, cross_check, settle};
use secrecy::SecretString;
use std::time::Duration;
use who::unknown;

/// The doors that a login uses.
#[derive(Clone, Copy)]
pub struct Doors<'a> {
    /// The environment.
    pub env: &'a Env,
    /// The client for calls.
    pub http: &'a HttpClient,
    /// How to talk to the person.
    pub person: &'a dyn Person,
    /// How long to wait for the browser.
    pub timeout: Duration,
}

impl std::fmt::Debug for Doors<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doors").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// What a guided login was told; all of it may be left out.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The account's name.
    pub name: Option<Name>,
    /// Its region.
    pub region: Option<Region>,
    /// Its project.
    pub project: Option<ProjectId>,
    /// Its type.
    pub told: Told,
}

/// The guided login: finds out type, region, project and name, adds the account (or renews the
/// one of that name) and activates it.
///
/// # Errors
/// `INVALID_ARGUMENT` for flags that do not fit, `PROJECT_NOT_FOUND`, `CONFIG_ERROR`,
/// `ACCOUNT_EXISTS`, the region's errors, and all of `login` for a browser login.
pub async fn unified(
    doors: Doors<'_>,
    request: &Request,
    pick: Picker<'_>,
) -> Result<AccountSummary, Refusal> {
    let kind = detect(&request.told, doors.env)?;
    let book = Book::open(doors.env)?;
    let existing = match &request.name {
        Some(name) => book.account(name)?,
        None => None,
    };
    if let Some(existing) = existing {
        return again::renew(doors, &book, request, kind, &existing).await;
    }
    let again = format!("mp-proxy login{}", kind.flag());
    if kind == Kind::OauthBrowser {
        return in_browser(doors, &book, request, pick, &again).await;
    }
    let credential = collect(kind, &request.told, doors.env, None)?;
    let authorization = authorization(&credential, doors.env)?;
    let region = match request.region {
        Some(region) => region,
        None => region::probe(doors.http, &authorization, book.headers(), doors.person).await?,
    };
    let me = identify(doors, &book, region, &authorization, &again).await?;
    let project = settle(&me, chosen(doors, request, &me)?, pick)?;
    let account =
        Account { name: name(request, &book, &me)?, region, default_project: project, credential };
    book.publish(&account, None)?;
    me::remember(&account, &authorization.login(), &me, doors.env);
    summary(&account, &me, doors.env)
}

/// The guided login of a browser account that is not there yet.
async fn in_browser(
    doors: Doors<'_>,
    book: &Book<'_>,
    request: &Request,
    pick: Picker<'_>,
    again: &str,
) -> Result<AccountSummary, Refusal> {
    let region = request.region.unwrap_or(Region::Us);
    let fresh = browser(doors, book, region, request.name.as_ref(), again).await?;
    let (fresh, project) = match chosen(doors, request, &fresh.me) {
        Ok(ask @ Chosen::Ask(_)) => {
            let page = Page::Accepted(fresh.me.user_email.clone());
            let fresh = fresh.turn(page).await;
            let project = settle(&fresh.me, ask, pick)?;
            (fresh, project)
        }
        Ok(Chosen::Settled(project)) => (fresh, project),
        Err(refusal) => return fresh.show(Err(refusal)).await.map(|(_, never)| never),
    };
    let published = publish(book, request, &fresh, region, project);
    let (fresh, account) = fresh.show(published).await?;
    me::remember(&account, &fresh.tokens().login(), &fresh.me, doors.env);
    summary(&account, &fresh.me, doors.env)
}

fn publish(
    book: &Book<'_>,
    request: &Request,
    fresh: &Fresh,
    region: Region,
    project: Option<ProjectId>,
) -> Result<Account, Refusal> {
    cross_check(&fresh.me, project.as_ref(), region)?;
    let account = Account {
        name: name(request, book, &fresh.me)?,
        region,
        default_project: project,
        credential: Credential::OauthBrowser,
    };
    book.publish(&account, Some(fresh.tokens()))?;
    Ok(account)
}

fn chosen(doors: Doors<'_>, request: &Request, me: &Me) -> Result<Chosen, Refusal> {
    choose(me, request.project.as_ref(), doors.env, &|text| doors.person.note(text))
}

/// Asks `/me` with a credential that was given.
async fn identify(
    doors: Doors<'_>,
    book: &Book<'_>,
    region: Region,
    authorization: &Authorization,
    again: &str,
) -> Result<Me, Refusal> {
    doors.person.progress("asking Mixpanel who this is");
    me::fetch(doors.http, region, authorization, book.headers(), me::WITHIN)
        .await
        .map_err(|error| unknown(&error, Code::AuthFailed, Code::OauthNetworkUnreachable, again))
}

fn authorization(credential: &Credential, env: &Env) -> Result<Authorization, Refusal> {
    let made = match credential {
        Credential::ServiceAccount { username, secret } => Authorization::basic(username, secret),
        Credential::OauthToken(TokenSource::Inline(token)) => Authorization::bearer(token),
        Credential::OauthToken(TokenSource::Env(name)) => {
            env.get(name).map(SecretString::from).and_then(|token| Authorization::bearer(&token))
        }
        Credential::OauthBrowser => None,
    };
    made.ok_or_else(|| {
        Refusal::config("the credential is empty or cannot stand in a header")
            .hint("check MP_USERNAME and MP_SECRET, or the token's variable")
    })
}

fn name(request: &Request, book: &Book<'_>, me: &Me) -> Result<Name, Refusal> {
    match &request.name {
        Some(name) => Ok(name.clone()),
        None => naming::default_name(me, &book.names()).ok_or_else(|| {
            Refusal::config("no account name is left").hint("run: mp-proxy login --name NAME")
        }),
    }
}

/// The account as lists show it, with what `/me` has just said.
fn summary(account: &Account, me: &Me, env: &Env) -> Result<AccountSummary, Refusal> {
    let project = account.default_project.as_ref();
    Ok(AccountSummary {
        status: Status::Ok,
        user_email: me.user_email.clone(),
        project_id: project.map(ToString::to_string),
        project_name: project
            .and_then(|id| me.project(id))
            .map(|project| project.name.clone())
            .filter(|name| !name.is_empty()),
        ..accounts::show(env, Some(account.name.as_str()))?
    })
}
