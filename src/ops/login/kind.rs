//! Which type of account a login makes, and with what: the flags first, then the environment.
//! Called by `ops::login`. Invariant: a flag that the type has no use for is refused before
//! anything is dialled.

use crate::{
    model::{
        account::{Credential, TokenSource},
        refusal::{Code, Refusal},
    },
    sys::env::{self, Env},
};
use secrecy::SecretString;

/// What a login was told about the type.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// `--service-account`.
    pub service_account: Option<ServiceAccount>,
    /// `--token-env NAME`.
    pub token_env: Option<String>,
    /// `--no-browser`.
    pub no_browser: Option<NoBrowser>,
    /// `--secret-stdin`, with what was read from there.
    pub secret: Option<SecretString>,
}

/// The wish for a service account.
#[derive(Debug, Clone, Copy)]
pub struct ServiceAccount;

/// The wish not to open a browser.
#[derive(Debug, Clone, Copy)]
pub struct NoBrowser;

/// The type of account that a login is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Basic with a secret.
    ServiceAccount,
    /// A static bearer.
    OauthToken,
    /// A browser login.
    OauthBrowser,
}

impl Kind {
    /// As the config spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceAccount => "service_account",
            Self::OauthToken => "oauth_token",
            Self::OauthBrowser => "oauth_browser",
        }
    }

    /// The flag that asks for it.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::ServiceAccount => " --service-account",
            Self::OauthToken => " --token-env MP_OAUTH_TOKEN",
            Self::OauthBrowser => "",
        }
    }
}

/// The type: flag, then `MP_USERNAME` with `MP_SECRET`, then `MP_OAUTH_TOKEN`, else the browser.
///
/// # Errors
/// `INVALID_ARGUMENT` for flags that contradict each other or the type.
pub fn detect(told: &Told, env: &Env) -> Result<Kind, Refusal> {
    let invalid = |text: String, hint: &str| {
        Err(Refusal::new(Code::InvalidArgument, text).hint(hint.to_owned()))
    };
    let kind = match (&told.service_account, &told.token_env) {
        (Some(_), Some(_)) => {
            return invalid(
                "`--service-account` and `--token-env` are mutually exclusive".into(),
                "run: mp-proxy login --service-account, or: mp-proxy login --token-env NAME",
            );
        }
        (Some(_), None) => Kind::ServiceAccount,
        (None, Some(_)) => Kind::OauthToken,
        (None, None) if env.get(env::MP_USERNAME).and(env.get(env::MP_SECRET)).is_some() => {
            Kind::ServiceAccount
        }
        (None, None) if env.get(env::MP_OAUTH_TOKEN).is_some() => Kind::OauthToken,
        (None, None) => Kind::OauthBrowser,
    };
    let only = |flag: &str, of: Kind| {
        format!("`{flag}` is for type `{}`, and this login is for `{}`", of.as_str(), kind.as_str())
    };
    if told.no_browser.is_some() && kind != Kind::OauthBrowser {
        return invalid(
            only("--no-browser", Kind::OauthBrowser),
            "leave it out, or unset MP_USERNAME, MP_SECRET and MP_OAUTH_TOKEN for a browser login",
        );
    }
    if told.secret.is_some() && kind != Kind::ServiceAccount {
        return invalid(
            only("--secret-stdin", Kind::ServiceAccount),
            "add --service-account, with the user name in MP_USERNAME",
        );
    }
    Ok(kind)
}

/// What a login without a browser proves itself with. `before` is the credential of the account
/// that is logged in again: a token that it reads from a variable goes on being read from there.
///
/// # Errors
/// `CONFIG_ERROR` if a variable that is needed is not set.
pub fn collect(
    kind: Kind,
    told: &Told,
    env: &Env,
    before: Option<&Credential>,
) -> Result<Credential, Refusal> {
    let unset =
        |name: &str, hint: String| Err(Refusal::config(format!("`{name}` is not set")).hint(hint));
    match kind {
        Kind::OauthBrowser => Ok(Credential::OauthBrowser),
        Kind::ServiceAccount => {
            let Some(username) = env.get(env::MP_USERNAME) else {
                return unset(
                    env::MP_USERNAME,
                    "set it to the service account's user name, then run the same command again"
                        .into(),
                );
            };
            let secret = told.secret.clone().or_else(|| env.get(env::MP_SECRET).map(Into::into));
            match secret {
                Some(secret) => {
                    Ok(Credential::ServiceAccount { username: username.into(), secret })
                }
                None => unset(
                    env::MP_SECRET,
                    "set it, or pipe the secret in with --secret-stdin".into(),
                ),
            }
        }
        Kind::OauthToken => {
            let kept = match before {
                Some(Credential::OauthToken(TokenSource::Env(name))) => Some(name),
                _ => None,
            };
            let pointer = told.token_env.as_ref().or(kept);
            let name = pointer.map_or(env::MP_OAUTH_TOKEN, String::as_str);
            let Some(token) = env.get(name) else {
                return unset(
                    name,
                    format!(
                        "set it to the token, or name another variable: mp-proxy login --token-env NAME (now `{name}`)"
                    ),
                );
            };
            Ok(Credential::OauthToken(match pointer {
                Some(name) => TokenSource::Env(name.clone()),
                None => TokenSource::Inline(token.into()),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told::default()
    }

    #[test]
    fn flags_beat_the_environment_and_must_fit() {
        let none = Env::new([("HOME", "/h")], "/");
        let both =
            Env::new([("MP_USERNAME", "u"), ("MP_SECRET", "s"), ("MP_OAUTH_TOKEN", "t")], "/");
        let half = Env::new([("MP_USERNAME", "u"), ("MP_OAUTH_TOKEN", "t")], "/");
        let named = Told { token_env: Some("T".into()), ..told() };
        let forced = Told { service_account: Some(ServiceAccount), ..told() };
        for (told, env, kind) in [
            (&told(), &none, Kind::OauthBrowser),
            (&told(), &both, Kind::ServiceAccount),
            (&told(), &half, Kind::OauthToken),
            (&named, &both, Kind::OauthToken),
            (&forced, &none, Kind::ServiceAccount),
        ] {
            assert_eq!(detect(told, env).unwrap(), kind);
        }
        for (bad, env) in [
            (Told { token_env: Some("T".into()), ..forced.clone() }, &none),
            (Told { no_browser: Some(NoBrowser), ..told() }, &both),
            (Told { secret: Some("s".into()), ..told() }, &none),
            (Told { secret: Some("s".into()), ..named.clone() }, &none),
        ] {
            assert_eq!(detect(&bad, env).unwrap_err().code, Code::InvalidArgument);
        }
    }

    #[test]
    fn a_token_that_is_read_from_a_variable_stays_there() {
        let env = Env::new([("MP_OAUTH_TOKEN", "t"), ("MINE", "m")], "/");
        let before = Credential::OauthToken(TokenSource::Env("MINE".into()));
        let collected =
            |told: &Told, before| collect(Kind::OauthToken, told, &env, before).unwrap();
        assert!(matches!(collected(&told(), None), Credential::OauthToken(TokenSource::Inline(_))));
        assert!(matches!(collected(&told(), Some(&before)),
            Credential::OauthToken(TokenSource::Env(name)) if name == "MINE"));
        let missing = Told { token_env: Some("NOT_SET".into()), ..told() };
        let refusal = collect(Kind::OauthToken, &missing, &env, None).unwrap_err();
        assert!(refusal.message.contains("NOT_SET"));
        assert_eq!(
            collect(Kind::ServiceAccount, &told(), &env, None).unwrap_err().code,
            Code::ConfigError
        );
    }
}
