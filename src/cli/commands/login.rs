//! `mp-proxy login` and `mp-proxy account login`: arguments to an operation, its outcome to the
//! door.

use crate::{
    cli::{
        args::login::{AccountLogin, Browser, Login},
        output::{Answer, Notes},
        secret,
        terminal::{Browse, Terminal},
    },
    model::refusal::Refusal,
    ops::login::{
        Doors, Request, account,
        kind::{NoBrowser, ServiceAccount, Told, detect},
        unified,
    },
    sys::{env::Env, http::HttpClient},
};
use secrecy::SecretString;
use std::{process::ExitCode, time::Duration};

/// Runs `mp-proxy login`.
#[must_use]
pub fn login(args: Login, env: &Env, notes: Notes) -> ExitCode {
    let door = args.output.door(notes);
    door.finish(guided(args, env, door.notes()))
}

/// Runs `mp-proxy account login`.
#[must_use]
pub fn account_login(args: &AccountLogin, env: &Env, notes: Notes) -> ExitCode {
    let door = args.output.door(notes);
    door.finish(explicit(args, env, door.notes()))
}

fn guided(args: Login, env: &Env, notes: Notes) -> Result<Answer, Refusal> {
    let mut told = Told {
        service_account: args.service_account.then_some(ServiceAccount),
        token_env: args.token_env,
        no_browser: args.browser.no_browser.then_some(NoBrowser),
        secret: args.secret_stdin.then(|| SecretString::from("")),
    };
    // Flags that do not fit are refused before stdin is waited for.
    detect(&told, env)?;
    if args.secret_stdin {
        told.secret = Some(secret::from_stdin("secret", "mp-proxy login -S --secret-stdin")?);
    }
    let request = Request { name: args.name, region: args.region, project: args.project, told };
    let terminal = Terminal::new(browse(&args.browser), notes, env);
    let done = run(env, &args.browser, &terminal, async |doors| {
        unified(doors, &request, &|choices| terminal.pick(choices)).await
    })?;
    drop(terminal);
    let user = done.user_email.as_deref().unwrap_or("(unknown user)");
    let project = done.project_name.as_deref().or(done.project_id.as_deref());
    let text =
        format!("Logged in as {user} → {} · {}", done.name, project.unwrap_or("(no project)"));
    Answer::one(&done, text)
}

fn explicit(args: &AccountLogin, env: &Env, notes: Notes) -> Result<Answer, Refusal> {
    let terminal = Terminal::new(browse(&args.browser), notes, env);
    let done = run(env, &args.browser, &terminal, async |doors| account(doors, &args.name).await)?;
    drop(terminal);
    let text = serde_json::to_string_pretty(&done)
        .map_err(|error| Refusal::config(format!("cannot write the answer as JSON: {error}")))?;
    Answer::one(&done, text)
}

fn run<T>(
    env: &Env,
    browser: &Browser,
    terminal: &Terminal,
    operation: impl AsyncFnOnce(Doors<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    run_async(env, terminal, Duration::from_secs(browser.timeout), operation)
}

/// For operations that never wait for a browser.
pub(super) const NO_BROWSER_WAIT: Duration = Duration::ZERO;

/// Runs an operation that talks to Mixpanel.
pub(super) fn run_async<T>(
    env: &Env,
    terminal: &Terminal,
    timeout: Duration,
    operation: impl AsyncFnOnce(Doors<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let http = HttpClient::from_env(env)?;
    let doors = Doors { env, http: &http, person: terminal, timeout };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::config(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(operation(doors))
}

const fn browse(browser: &Browser) -> Browse {
    if browser.no_browser { Browse::Print } else { Browse::Open }
}
