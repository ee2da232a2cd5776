//! `mp-proxy account add`: the scriptable way to an account; what is left out is found out by
//! asking Mixpanel. Invariant: arguments are checked before a secret is asked for, and nothing
//! is written before all is known.

use super::{
    account::{line, region},
    login::run_async,
};
use crate::{
    cli::{
        args::{account::Add, axes},
        output::{Answer, Notes},
        secret,
        terminal::{Browse, Terminal},
    },
    model::{
        account::{Account, Credential, TokenSource},
        id::{Name, ProjectId},
        refusal::{Code, Refusal},
        region::Region,
    },
    ops::{accounts, login::found},
    sys::env::{Env, MP_OAUTH_TOKEN, MP_PROJECT_ID, MP_SECRET},
};
use secrecy::SecretString;
use std::process::ExitCode;

/// Runs the command.
#[must_use]
pub fn add(args: &Add, env: &Env, notes: Notes) -> ExitCode {
    let door = args.output.door(notes);
    door.finish(added(args, env, door.notes()))
}

fn added(args: &Add, env: &Env, notes: Notes) -> Result<Answer, Refusal> {
    let kind = Kind::parse(&args.kind)?;
    let told = args.region.as_deref().map(region).transpose()?;
    kind.check(args)?;
    let name = args.name.as_deref().map(name).transpose()?;
    let project = project(args, env)?;
    if let Some(name) = &name {
        accounts::free(env, name)?;
    }
    let credential = match kind {
        Kind::ServiceAccount => service_account(args, env)?,
        Kind::OauthToken => Credential::OauthToken(token(args, env)?),
        Kind::OauthBrowser => Credential::OauthBrowser,
    };
    let (name, region) = match (name, told, kind) {
        (Some(name), Some(region), _) => (name, region),
        (Some(name), None, Kind::OauthBrowser) => (name, Region::Us),
        (None, _, Kind::OauthBrowser) => {
            return Err(invalid("a browser login needs a NAME here")
                .hint("run: mp-proxy login, which finds a name; or pass NAME"));
        }
        (name, region, _) => find_out(env, &credential, name, region, notes)?,
    };
    let account = Account { name, region, default_project: project, credential };
    let summary = accounts::add(env, &account)?;
    let mut text = format!("Added account {}", line(&summary));
    if summary.is_active {
        text += "\nIt is the active account now";
    }
    Answer::one(&summary, text)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ServiceAccount,
    OauthBrowser,
    OauthToken,
}

impl Kind {
    fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "service_account" => Ok(Self::ServiceAccount),
            "oauth_browser" => Ok(Self::OauthBrowser),
            "oauth_token" => Ok(Self::OauthToken),
            _ => Err(invalid(format!("`--type` is {text:?}, which is no type of account"))
                .hint("pass --type service_account, oauth_browser or oauth_token")),
        }
    }

    /// Flags of another type are mistakes; the reference drops them silently.
    fn check(self, args: &Add) -> Result<(), Refusal> {
        let flags = [
            ("--username", args.credential.username.is_some(), Self::ServiceAccount),
            ("--secret-stdin", args.credential.secret_stdin, Self::ServiceAccount),
            ("--token-env", args.credential.token_env.is_some(), Self::OauthToken),
            ("--token-stdin", args.credential.token_stdin, Self::OauthToken),
        ];
        args.credential.check()?;
        for (flag, given, owner) in flags {
            if given && owner != self {
                return Err(invalid(format!("`{flag}` does not belong to `--type {}`", args.kind))
                    .hint(format!("leave {flag} out, or choose another --type")));
            }
        }
        if self == Self::ServiceAccount
            && args.credential.username.as_deref().is_none_or(str::is_empty)
        {
            return Err(invalid("a service account needs `--username`")
                .hint("pass --username with the name that Mixpanel showed"));
        }
        Ok(())
    }
}

fn invalid(text: impl Into<String>) -> Refusal {
    Refusal::new(Code::InvalidArgument, text)
}

fn name(text: &str) -> Result<Name, Refusal> {
    Name::parse(text).map_err(|rule| {
        Refusal::config(format!("the account's name is {text:?}, it {rule}"))
            .hint("choose another NAME")
    })
}

fn project(args: &Add, env: &Env) -> Result<Option<ProjectId>, Refusal> {
    let text = args.project.as_deref().or_else(|| env.get(MP_PROJECT_ID));
    text.map(axes::project_field).transpose()
}

fn service_account(args: &Add, env: &Env) -> Result<Credential, Refusal> {
    let username = args.credential.username.clone().unwrap_or_default();
    let secret = if args.credential.secret_stdin {
        secret::from_stdin("secret", "mp-proxy account add … --secret-stdin")?
    } else if let Some(secret) = env.get(MP_SECRET) {
        SecretString::from(secret)
    } else {
        secret::from_terminal("secret of the service account", "--secret-stdin")?.ok_or_else(
            || {
                invalid("there is no secret: no terminal to ask at")
                    .hint("set MP_SECRET, or pipe the secret in and pass --secret-stdin")
            },
        )?
    };
    Ok(Credential::ServiceAccount { username, secret })
}

fn token(args: &Add, env: &Env) -> Result<TokenSource, Refusal> {
    if let Some(variable) = &args.credential.token_env {
        return Ok(TokenSource::Env(variable.clone()));
    }
    let token = if args.credential.token_stdin {
        secret::from_stdin("token", "mp-proxy account add … --token-stdin")?
    } else if let Some(token) = env.get(MP_OAUTH_TOKEN) {
        SecretString::from(token)
    } else {
        secret::from_terminal("token", "--token-stdin")?.ok_or_else(|| {
            invalid("there is no token: no terminal to ask at").hint(
                "pass --token-env VARIABLE, or pipe it in and pass --token-stdin, or set MP_OAUTH_TOKEN",
            )
        })?
    };
    Ok(TokenSource::Inline(token))
}

/// Asks Mixpanel for what was left out.
fn find_out(
    env: &Env,
    credential: &Credential,
    name: Option<Name>,
    region: Option<Region>,
    notes: Notes,
) -> Result<(Name, Region), Refusal> {
    if let Credential::OauthToken(TokenSource::Env(variable)) = credential
        && env.get(variable).is_none()
    {
        return Err(invalid(format!(
            "`{variable}` is not set, and without it nothing can be found out"
        ))
        .hint(format!("set {variable}, or pass NAME and --region")));
    }
    let terminal = Terminal::new(Browse::Open, notes, env);
    run_async(env, &terminal, super::login::NO_BROWSER_WAIT, async |doors| {
        let region = match region {
            Some(region) => region,
            None => found::region(doors, credential).await?,
        };
        let name = match name {
            Some(name) => name,
            None => found::name(doors, credential, region).await?,
        };
        Ok((name, region))
    })
}
