//! What callers may do: rules of the policy file and of the flags, judged for one request.
//! Called by `handler` once it is known who a request would be sent as, before a secret is read.
//! Invariants: a request passes only if every set of rules allows it in every way in which a
//! server may read it; each refusal names the check, the value and where the rule stands.

pub mod body;
pub mod live;
pub mod mentions;
pub mod operations;
pub mod projects;
pub mod spelling;

use self::{
    body::Look,
    operations::{Class, classify},
    spelling::Segments,
};
use super::{body::RequestBody, rewrite::ClientAuthorization, route::Route};
use crate::{
    auth::{resolve::Selection, switch::Switch},
    model::{
        account::Target,
        policy::{Access, Bodies, Rules},
        refusal::{Code, Refusal},
        session::Session,
    },
    store::snapshot::Snapshot,
};
use http::{HeaderMap, Method, Uri, header};

/// A request as policy sees it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query as the caller sent them.
    pub uri: &'a Uri,
    /// The caller's header fields.
    pub headers: &'a HeaderMap,
    /// Where it would go.
    pub route: &'a Route,
    /// As whom it would go.
    pub session: &'a Session,
    /// What its headers asked for.
    pub wanted: &'a Switch,
    /// What the proxy was started with.
    pub base: &'a Selection,
    /// For the targets that are configured.
    pub snapshot: &'a Snapshot,
    /// What becomes of a caller's own `Authorization`.
    pub client_authorization: ClientAuthorization,
    /// What this caller may do.
    pub access: Access,
}

/// Lets a request pass, its body looked into where the rules want that.
///
/// # Errors
/// `POLICY_DENIED` with the first check that failed, `BAD_REQUEST` for a body that broke off.
pub async fn pass(
    sets: &[Rules],
    subject: &Subject<'_>,
    body: RequestBody,
) -> Result<RequestBody, Refusal> {
    match judge(sets, subject)? {
        Look::Not => Ok(body),
        look => Box::pin(body::inspect(sets, subject, look, body)).await,
    }
}

/// Judges a request by all sets of rules; says what has to become of its body.
///
/// # Errors
/// `POLICY_DENIED` with the first check that failed.
pub fn judge(sets: &[Rules], subject: &Subject<'_>) -> Result<Look, Refusal> {
    let restricted = subject.access == Access::ReadOnly || sets.iter().any(restricts);
    if !restricted {
        return Ok(Look::Not);
    }
    no_override(subject.headers)?;
    mentions::no_method(subject.uri.query().unwrap_or_default(), "query")?;
    let readings = spelling::readings(subject.uri.path())?;
    // Of several readings the worst counts.
    let class = readings.iter().map(|segments| classify(subject.method, segments)).max();
    let class = class.unwrap_or(Class::Write);
    if subject.access == Access::ReadOnly {
        read_only(class, subject, "the caller's token")?;
    }
    let mut look = Look::Not;
    let by_method = |set: &Rules| !(set.methods.is_open() && set.routes.is_open());
    if *subject.method == Method::POST
        && (subject.access == Access::ReadOnly
            || sets.iter().any(|set| set.access == Access::ReadOnly || by_method(set)))
    {
        // A form can have frameworks take another method.
        look = body::look(Bodies::Inspect, subject.route).min(Look::IfPossible);
    }
    for set in sets {
        if set.access == Access::ReadOnly {
            read_only(class, subject, &set.source)?;
        }
        methods(set, subject.method)?;
        routes(set, subject.method, &readings)?;
        accounts(set, subject)?;
        targets(set, subject)?;
        if !set.projects.is_open() {
            projects::check(set, subject, &readings)?;
            look = look.max(body::look(set.bodies, subject.route));
        }
    }
    Ok(look)
}

/// Whether a set of rules can refuse anything.
fn restricts(rules: &Rules) -> bool {
    rules.access == Access::ReadOnly
        || !(rules.accounts.is_open()
            && rules.targets.is_open()
            && rules.projects.is_open()
            && rules.routes.is_open()
            && rules.methods.is_open())
}

/// SECURITY: frameworks take the method or the path from these instead of the request line.
fn no_override(headers: &HeaderMap) -> Result<(), Refusal> {
    const NAMES: [&str; 14] = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-method",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x-rewrite-uri",
        "x-forwarded-uri",
        "x-forwarded-path",
        "x-forwarded-prefix",
        "x-forwarded-method",
        "x-envoy-original-path",
        "x-script-name",
    ];
    let named =
        headers.keys().find(|name| NAMES.contains(&name.as_str().replace('_', "-").as_str()));
    match named {
        None => Ok(()),
        Some(name) => Err(denied(format!("header `{name}` would overrule the request line"))
            .hint(format!("leave out `{name}`"))),
    }
}

fn read_only(class: Class, subject: &Subject<'_>, source: &str) -> Result<(), Refusal> {
    let what = match class {
        Class::Read => return Ok(()),
        Class::Write => "is a write, or not known to be a read",
        Class::Secret => "mints or returns a secret",
    };
    Err(denied(format!("`{} {}` {what}, and {source} says read-only", subject.method, subject.uri.path()))
        .hint("use an operation that reads, or ask whoever runs mp-proxy to start it without --read-only (`read_only` of the policy file)"))
}

fn methods(rules: &Rules, method: &Method) -> Result<(), Refusal> {
    // HEAD is GET without the body.
    let fits = |one: &String| {
        one == method.as_str() || (*method == Method::HEAD && one == Method::GET.as_str())
    };
    if rules.methods.allows(fits) {
        return Ok(());
    }
    Err(forbidden("method", method.as_str(), "methods", rules))
}

fn routes(rules: &Rules, method: &Method, readings: &[Segments]) -> Result<(), Refusal> {
    let name = if *method == Method::HEAD { "GET" } else { method.as_str() };
    for segments in readings {
        // Denied whatever the case, allowed only as it is written.
        let denied = |one: &crate::model::policy::RouteRule| {
            one.fits(name, segments, |a, b| spelling::fold(a) == spelling::fold(b))
        };
        let allowed =
            |one: &crate::model::policy::RouteRule| one.fits(name, segments, |a, b| a == b);
        let passes = !rules.routes.deny.iter().any(denied)
            && rules.routes.allow.as_ref().is_none_or(|allow| allow.iter().any(allowed));
        if !passes {
            let value = format!("{method} /{}", segments.join("/"));
            return Err(forbidden("route", &value, "routes", rules));
        }
    }
    Ok(())
}

fn accounts(rules: &Rules, subject: &Subject<'_>) -> Result<(), Refusal> {
    let name = subject.session.account.name.as_str();
    if !rules.accounts.allows(|one| one == name) {
        return Err(forbidden("account", name, "accounts", rules));
    }
    let passed = subject.client_authorization == ClientAuthorization::Pass
        && subject.headers.contains_key(header::AUTHORIZATION);
    let own = if passed {
        Some("Authorization")
    } else {
        // Mixpanel's own pages log in by cookie.
        subject.headers.contains_key(header::COOKIE).then_some("Cookie")
    };
    // Whom a caller's own credential stands for, and what it opens, nobody here knows.
    match own {
        Some(own) if !(rules.accounts.is_open() && rules.projects.is_open()) => Err(denied(
            format!("the caller's own `{own}` cannot be judged by account and project rules"),
        )
        .hint(if passed {
            "leave out Authorization, or start mp-proxy with --client-authorization replace"
        } else {
            "leave out Cookie"
        })),
        _ => Ok(()),
    }
}

/// By name, and a denied target also by what it stands for.
fn targets(rules: &Rules, subject: &Subject<'_>) -> Result<(), Refusal> {
    if rules.targets.is_open() {
        return Ok(());
    }
    let by_axis = subject.wanted.account.is_some()
        || subject.wanted.project.is_some()
        || subject.wanted.workspace.is_some();
    let chosen = subject
        .wanted
        .target
        .as_deref()
        .or_else(|| subject.base.target.as_deref().filter(|_| !by_axis));
    if let Some(name) = chosen
        && !rules.targets.allows(|one| one == name)
    {
        return Err(forbidden("target", name, "targets", rules));
    }
    if chosen.is_none() && rules.targets.allow.is_some() {
        return Err(denied(format!(
            "only targets are allowed ({}), and this request goes through none",
            rules.source
        ))
        .hint("send the header X-Mp-Target with an allowed target"));
    }
    let session = subject.session;
    let config = subject.snapshot.config.as_ref();
    let stands_for = |target: &Target| {
        target.account == session.account.name.as_str() && target.project == session.project
    };
    let disguised = rules.targets.deny.iter().find(|name| {
        config.is_ok_and(|config| config.target(name).is_ok_and(|target| stands_for(&target)))
    });
    match disguised {
        Some(name) => Err(forbidden("target", name, "targets", rules)),
        None => Ok(()),
    }
}

/// The refusal of a value that a list rules out.
fn forbidden(what: &str, value: &str, key: &str, rules: &Rules) -> Refusal {
    let shown = value.escape_debug();
    denied(format!("{what} `{shown}` is not allowed (`{key}`, {})", rules.source)).hint(format!(
        "use another {what}, or ask whoever runs mp-proxy to change `[proxy.{key}]` of the policy file or the --allow-… and --deny-… flags"
    ))
}

fn denied(message: String) -> Refusal {
    Refusal::new(Code::PolicyDenied, format!("policy: {message}"))
}
