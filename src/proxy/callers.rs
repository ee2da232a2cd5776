//! Who is calling: the token of a request against those that are known, in constant time.
//! Called by `handler` after the guard; what it returns goes to policy, audit and metrics.
//! Invariants: whatever carried the token is gone from the headers afterwards, so that it cannot
//! reach Mixpanel; a broken token file lets nobody in.

use crate::{
    auth::switch::Switch,
    model::{
        caller::Caller,
        policy::{Lists, Rules},
        refusal::{Code, Refusal},
        session::Session,
    },
    store::{
        callers::{self, Entry, TokenDigest, is_token},
        watched::Watched,
    },
    sys::env::MP_PROXY_CLIENT_TOKEN,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header};
use secrecy::{ExposeSecret as _, SecretString};
use std::{borrow::Cow, path::PathBuf, sync::Arc};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

/// The header of ours that carries a caller token.
pub const TOKEN_HEADER: &str = "x-mp-proxy-token";
const TOKEN: HeaderName = HeaderName::from_static(TOKEN_HEADER);

/// The caller whose token came from the environment.
const FROM_ENV: &str = "env";

/// Shorter tokens can be guessed.
const SHORT: usize = 16;

/// The callers that are known; none known means that nobody is asked for a token.
#[derive(Debug)]
pub struct Callers {
    file: Option<Watched<Vec<Entry>>>,
    env: Option<Entry>,
    anybody: Arc<Caller>,
}

impl Callers {
    /// Takes the token file and the token of the environment, either of which may be missing.
    ///
    /// # Errors
    /// `CONFIG_ERROR`: the file is broken now, or the variable holds what cannot be a token.
    pub fn new(
        file: Option<PathBuf>,
        token: Option<&SecretString>,
        home: Option<PathBuf>,
    ) -> Result<Self, Refusal> {
        let env = token.map(|token| {
            let token = token.expose_secret();
            if !is_token(token) {
                return Err(Refusal::config(format!(
                    "`{MP_PROXY_CLIENT_TOKEN}` holds what cannot stand in a header"
                ))
                .hint("make one with: openssl rand -hex 32"));
            }
            if token.len() < SHORT {
                tracing::warn!("{MP_PROXY_CLIENT_TOKEN} is short enough to be guessed");
            }
            let digest = TokenDigest::of(token.as_bytes());
            Ok(Entry { caller: Arc::new(Caller::named(FROM_ENV)), digest })
        });
        let callers = Self {
            file: file.map(|path| Watched::new(path, home, callers::parse)),
            env: env.transpose()?,
            anybody: Arc::new(Caller::named(Caller::ANYBODY)),
        };
        if let Some(file) = &callers.file {
            file.current()?;
        }
        Ok(callers)
    }

    /// Who everybody is before a token was asked for.
    #[must_use]
    pub fn anybody(&self) -> Arc<Caller> {
        Arc::clone(&self.anybody)
    }

    /// Whether callers have to show a token.
    #[must_use]
    pub const fn are_asked(&self) -> bool {
        self.file.is_some() || self.env.is_some()
    }

    /// Finds the caller of a request, and takes the token out of its headers.
    ///
    /// # Errors
    /// `CALLER_UNKNOWN` without a known token; `CONFIG_ERROR` while the token file is broken.
    pub fn identify(&self, headers: &mut HeaderMap) -> Result<Arc<Caller>, Refusal> {
        if !self.are_asked() {
            headers.remove(TOKEN);
            return Ok(Arc::clone(&self.anybody));
        }
        let from_file = self.file.as_ref().map(Watched::current).transpose()?;
        let shown = take(headers)?
            .ok_or_else(|| unknown("callers need a token here, and this request shows none"))?;
        let entries = from_file.iter().flat_map(|entries| entries.iter()).chain(&self.env);
        find(entries, &TokenDigest::of(&shown))
            .ok_or_else(|| unknown("the token of this request belongs to no caller"))
    }
}

/// What a bound caller's request may name: nothing, or the target that it is bound to anyway.
///
/// # Errors
/// `POLICY_DENIED` for any other switch.
pub fn bind(caller: &Caller, wanted: Switch) -> Result<Switch, Refusal> {
    let Some(target) = &caller.target else { return Ok(wanted) };
    let bound = Switch { target: Some(target.to_string()), ..Switch::default() };
    if wanted.is_empty() || wanted == bound {
        return Ok(bound);
    }
    Err(Refusal::new(
        Code::PolicyDenied,
        format!("caller `{}` is bound to target `{target}` and cannot switch", caller.name),
    )
    .hint("leave out the X-Mp-* headers, or use the token of a caller without `target`"))
}

/// What path and query of the request have to agree with: for a bound caller the session of its
/// target, else what its headers named.
///
/// # Errors
/// `POLICY_DENIED` where a variable of the environment overruled the target.
pub fn scope<'a>(
    caller: &Caller,
    session: &Session,
    wanted: &'a Switch,
) -> Result<Cow<'a, Switch>, Refusal> {
    let Some(target) = &caller.target else { return Ok(Cow::Borrowed(wanted)) };
    if let Some(variable) = session.overruled.first() {
        let message = format!(
            "caller `{}` is bound to target `{target}`, which `{variable}` in the environment overrules",
            caller.name
        );
        return Err(Refusal::new(Code::PolicyDenied, message)
            .hint(format!("start mp-proxy without {variable}")));
    }
    Ok(Cow::Owned(Switch {
        project: Some(session.project.clone()),
        workspace: session.workspace,
        ..Switch::default()
    }))
}

/// The rules that this caller is under: for a bound one also that only the project of its target
/// is reached, however the request spells it.
#[must_use]
pub fn rules<'a>(caller: &Caller, session: &Session, sets: &'a [Rules]) -> Cow<'a, [Rules]> {
    let Some(target) = &caller.target else { return Cow::Borrowed(sets) };
    let own = Rules {
        source: format!("the token of caller `{}`, bound to target `{target}`", caller.name),
        projects: Lists { allow: Some(vec![session.project.clone()]), deny: Vec::new() },
        workspaces: session.workspace.into_iter().collect(),
        ..Rules::default()
    };
    Cow::Owned(sets.iter().cloned().chain([own]).collect())
}

/// A disagreement with the scope, in the words of a bound caller.
#[must_use]
pub fn out_of_scope(caller: &Caller, refusal: Refusal) -> Refusal {
    match &caller.target {
        Some(target) if refusal.code == Code::OverrideConflict => Refusal::new(
            Code::PolicyDenied,
            format!(
                "caller `{}` is bound to target `{target}`, and this request names another project or workspace",
                caller.name
            ),
        )
        .hint("leave `project_id` and `workspace_id` out, or use the token of a caller without `target`"),
        _ => refusal,
    }
}

/// Every entry is compared, each in constant time: how long it takes tells nothing about how
/// near a guess was, nor which entry it was near to.
fn find<'a>(entries: impl Iterator<Item = &'a Entry>, shown: &TokenDigest) -> Option<Arc<Caller>> {
    let mut found = 0_u64;
    let entries: Vec<_> = entries.collect();
    for (number, entry) in (1..).zip(&entries) {
        found.conditional_assign(&number, entry.digest.bytes().ct_eq(shown.bytes()));
    }
    let index = usize::try_from(found).ok()?.checked_sub(1)?;
    entries.get(index).map(|entry| Arc::clone(&entry.caller))
}

/// Takes the token out: of our own header, else of `Authorization`. An `Authorization` beside
/// our own header is the caller's own, and stays for `--client-authorization` to judge.
fn take(headers: &mut HeaderMap) -> Result<Option<Zeroizing<Vec<u8>>>, Refusal> {
    let name = if headers.contains_key(TOKEN) { TOKEN } else { header::AUTHORIZATION };
    let mut values = headers.get_all(&name).iter();
    let (Some(value), more) = (values.next(), values.next()) else { return Ok(None) };
    if more.is_some() {
        return Err(unknown(&format!("header `{name}` is repeated")));
    }
    let shown = if name == header::AUTHORIZATION {
        of_authorization(value.as_bytes())
    } else {
        Some(Zeroizing::new(value.as_bytes().trim_ascii().to_vec()))
    };
    headers.remove(&name);
    Ok(shown)
}

/// The token of `Bearer TOKEN`, or the password of `Basic BASE64`.
fn of_authorization(value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(space);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(Zeroizing::new(rest.to_vec()));
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(rest).ok()?);
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(Zeroizing::new(pair[colon + 1..].to_vec()))
}

fn unknown(message: &str) -> Refusal {
    Refusal::new(Code::CallerUnknown, message)
        .hint("send X-Mp-Proxy-Token: TOKEN, or Authorization: Bearer TOKEN, or the token as the password of Basic")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        account::{Account, Credential},
        id::{Name, ProjectId, WorkspaceId},
        region::Region,
        session::Sources,
    };
    use http::HeaderValue;
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn env_only(token: &str) -> Callers {
        Callers::new(None, Some(&SecretString::from(token)), None).unwrap()
    }

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn without_tokens_everybody_is_let_in_and_our_header_still_goes() {
        let callers = Callers::new(None, None, None).unwrap();
        assert!(!callers.are_asked());
        let mut sent = headers(&[(TOKEN_HEADER, "x"), ("authorization", "Bearer y")]);
        assert_eq!(*callers.identify(&mut sent).unwrap(), Caller::named(Caller::ANYBODY));
        assert_eq!(sent, headers(&[("authorization", "Bearer y")]));
    }

    #[test]
    fn a_token_is_taken_from_three_places_and_taken_off() {
        let callers = env_only(TOKEN);
        assert!(callers.are_asked());
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (name, value) in [
            ("authorization", format!("Bearer {TOKEN}")),
            ("authorization", format!("bEARER  {TOKEN} ")),
            ("authorization", basic(&format!("me:{TOKEN}"))),
            ("authorization", basic(&format!(":{TOKEN}"))),
            ("x-mp-proxy-token", TOKEN.to_owned()),
        ] {
            let mut sent = headers(&[(name, &value)]);
            let caller = callers.identify(&mut sent).unwrap();
            assert_eq!(&*caller.name, "env", "{value}");
            assert!(sent.is_empty(), "{sent:?}");
        }
        let mut sent = headers(&[(TOKEN_HEADER, TOKEN), ("authorization", "Bearer own")]);
        callers.identify(&mut sent).unwrap();
        assert_eq!(sent, headers(&[("authorization", "Bearer own")]));
    }

    #[test]
    fn anything_else_is_nobody() {
        let callers = env_only(TOKEN);
        let right = format!("Bearer {TOKEN}");
        let colonless = format!("Basic {}", STANDARD.encode(TOKEN));
        let twice = format!("Basic {}", STANDARD.encode(format!("a:b:{TOKEN}")));
        for lines in [
            vec![],
            vec![("authorization", "")],
            vec![("authorization", TOKEN)],
            vec![("authorization", "Bearer 0123456789abcdeF")],
            vec![("authorization", "Bearer 0123456789abcdef0")],
            vec![("authorization", "Bearer 0123456789abcde")],
            vec![("authorization", "Digest 0123456789abcdef")],
            vec![("authorization", "Basic %%%")],
            vec![("authorization", colonless.as_str())],
            vec![("authorization", twice.as_str())],
            vec![("authorization", right.as_str()), ("authorization", right.as_str())],
            vec![(TOKEN_HEADER, TOKEN), (TOKEN_HEADER, TOKEN)],
            vec![(TOKEN_HEADER, "wrong"), ("authorization", right.as_str())],
            vec![(TOKEN_HEADER, "")],
        ] {
            let refusal = callers.identify(&mut headers(&lines)).unwrap_err();
            assert_eq!(refusal.code, Code::CallerUnknown, "{lines:?}");
            assert!(!format!("{refusal:?}").contains(TOKEN), "{refusal:?}");
        }
    }

    #[test]
    fn every_caller_of_the_file_is_found_and_the_file_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        write(
            &path,
            "[callers.a]\ntoken = \"aa\"\n[callers.b]\ntoken = \"bb\"\n[callers.c]\ntoken = \"cc\"\n",
        );
        let callers =
            Callers::new(Some(path.clone()), Some(&SecretString::from("ee")), None).unwrap();
        let who = |token: &str| {
            callers
                .identify(&mut headers(&[(TOKEN_HEADER, token)]))
                .map(|caller| caller.name.to_string())
                .map_err(|refusal| refusal.code)
        };
        for (token, name) in [("aa", "a"), ("bb", "b"), ("cc", "c"), ("ee", "env")] {
            assert_eq!(who(token), Ok(name.to_owned()));
        }
        assert_eq!(who("dd"), Err(Code::CallerUnknown));
        write(&path, "dd\n");
        assert_eq!(who("dd"), Ok("default".to_owned()));
        assert_eq!(who("aa"), Err(Code::CallerUnknown));
        write(&path, "[callers.a]\n");
        assert_eq!(who("ee"), Err(Code::ConfigError), "a broken file lets nobody in");
        fs::remove_file(&path).unwrap();
        assert_eq!(who("dd"), Err(Code::ConfigError));
        assert!(Callers::new(Some(path), None, None).is_err());
        let spaced = SecretString::from("a b");
        assert!(Callers::new(None, Some(&spaced), None).is_err());
    }

    #[test]
    fn a_bound_caller_names_its_target_or_nothing() {
        let free = Caller::named("free");
        let bound = Caller { target: Some("ecom".into()), ..Caller::named("b") };
        let target = |name: &str| Switch { target: Some(name.to_owned()), ..Switch::default() };
        assert_eq!(bind(&free, target("x")).unwrap(), target("x"));
        assert_eq!(bind(&bound, Switch::default()).unwrap(), target("ecom"));
        assert_eq!(bind(&bound, target("ecom")).unwrap(), target("ecom"));
        let account = Switch { account: Some("a".into()), ..Switch::default() };
        for other in [target("x"), account] {
            assert_eq!(bind(&bound, other).unwrap_err().code, Code::PolicyDenied);
        }
        let conflict = || Refusal::new(Code::OverrideConflict, "x");
        assert_eq!(out_of_scope(&free, conflict()), conflict());
        assert_eq!(out_of_scope(&bound, conflict()).code, Code::PolicyDenied);
        assert_eq!(out_of_scope(&bound, Refusal::config("x")), Refusal::config("x"));
    }

    fn session(overruled: Vec<&'static str>) -> Session {
        let account = Account {
            name: Name::parse("a").unwrap(),
            region: Region::Us,
            default_project: None,
            credential: Credential::OauthBrowser,
        };
        Session {
            account: Arc::new(account),
            project: ProjectId::parse("7").unwrap(),
            workspace: Some(WorkspaceId::parse("3").unwrap()),
            headers: Arc::default(),
            bridge: None,
            sources: Sources { account: "x".into(), project: "y".into(), workspace: None },
            warnings: Vec::new(),
            overruled,
        }
    }

    #[test]
    fn a_bound_caller_agrees_with_its_target_and_another_with_what_it_named() {
        let free = Caller::named("free");
        let bound = Caller { target: Some("ecom".into()), ..Caller::named("b") };
        let wanted = Switch { project: Some(ProjectId::parse("8").unwrap()), ..Switch::default() };
        let overruled = || session(vec!["MP_PROJECT_ID", "MP_WORKSPACE_ID"]);
        assert_eq!(*scope(&free, &overruled(), &wanted).unwrap(), wanted);
        let of_target = Switch {
            project: Some(ProjectId::parse("7").unwrap()),
            workspace: Some(WorkspaceId::parse("3").unwrap()),
            ..Switch::default()
        };
        assert_eq!(*scope(&bound, &session(vec![]), &wanted).unwrap(), of_target);
        let refusal = scope(&bound, &overruled(), &wanted).unwrap_err();
        assert_eq!(refusal.code, Code::PolicyDenied);
        assert!(refusal.message.contains("`MP_PROJECT_ID`"), "{refusal}");
    }

    #[test]
    fn a_bound_caller_is_under_a_rule_of_its_own_beside_all_others() {
        let free = Caller::named("free");
        let bound = Caller { target: Some("ecom".into()), ..Caller::named("b") };
        let sets = [Rules { source: "the file".into(), ..Rules::default() }];
        assert_eq!(*rules(&free, &session(vec![]), &sets), sets);
        let own = Rules {
            source: "the token of caller `b`, bound to target `ecom`".into(),
            projects: Lists { allow: Some(vec![ProjectId::parse("7").unwrap()]), deny: vec![] },
            workspaces: vec![WorkspaceId::parse("3").unwrap()],
            ..Rules::default()
        };
        assert_eq!(*rules(&bound, &session(vec![]), &sets), [sets[0].clone(), own.clone()]);
        assert_eq!(*rules(&bound, &session(vec![]), &[]), [own]);
    }
}
