//! `mp-proxy demo --login`: a person walks through the real login, in a real browser, against the
//! stand-in. Called by `demo`. Invariant: the stand-in accepts no bearer but those it granted.

use super::failed;
use crate::{
    cli::{
        args::Demo,
        output::Notes,
        terminal::{Browse, Terminal},
    },
    demo::{stand_in::StandIn, switches::Bearers},
    model::{
        id::{Name, ProjectId},
        refusal::Refusal,
        upstream::Upstream,
    },
    ops::login::{Doors, Request, unified},
    sys::{env::Env, http::HttpClient},
};
use std::time::Duration;

/// Logs in; says what came of it.
pub(super) async fn walk(
    args: &Demo,
    env: &Env,
    upstream: Upstream,
    stand_in: &StandIn,
) -> Result<String, Refusal> {
    stand_in.oauth().set(|switches| switches.bearers = Bearers::Granted);
    let browse = if args.no_browser { Browse::Print } else { Browse::Open };
    // The home is made up, the browser is not.
    let terminal = Terminal::new(browse, Notes::Show, &Env::process());
    let http = HttpClient::new(env, Some(upstream));
    let doors =
        Doors { env, http: &http, person: &terminal, timeout: Duration::from_secs(args.timeout) };
    let request = Request {
        name: Some(Name::parse("demo").map_err(|error| failed("name the account", &error))?),
        project: Some(ProjectId::parse("1001").map_err(|error| failed("name a project", &error))?),
        ..Request::default()
    };
    let done = unified(doors, &request, &|_| Ok(None)).await?;
    let counts = stand_in.oauth().counts();
    Ok(format!(
        "\nLogged in as {} → {}\n   registrations {}, consent pages {}, codes exchanged {}; tokens in .mp/accounts/demo/tokens.json of the throw-away home\n",
        done.user_email.as_deref().unwrap_or("(unknown user)"),
        done.name,
        counts.registrations,
        counts.authorizations,
        counts.exchanges,
    ))
}
