//! Flags of `mp-proxy serve` that say what callers may do. Flattened into `serve`; each makes
//! part of one set of rules, beside that of the policy file.

use super::Pace;
use crate::{
    model::{
        id::{Name, ProjectId},
        policy::{Access, Bodies, Lists, RouteRule, Rules, is_method},
        refusal::{Code, Refusal},
    },
    proxy::{
        audit::{self, OnFailure},
        governance,
        policy::live::Place,
        share::{self, InFlight},
    },
    sys::env::Env,
};
use clap::{Args, builder::FalseyValueParser};
use std::{path::PathBuf, time::Duration};

/// The flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub struct Governance {
    /// File with a `[proxy]` table of rules; ~/.mp/proxy.toml if that exists
    #[arg(long, env = "MP_PROXY_POLICY_FILE", value_name = "PATH")]
    pub policy_file: Option<PathBuf>,
    /// Refuse every operation that is not known to only read
    #[arg(long, env = "MP_PROXY_READ_ONLY", value_parser = FalseyValueParser::new())]
    pub read_only: bool,
    /// Under project rules, refuse bodies that cannot be looked into
    #[arg(long, env = "MP_PROXY_STRICT_BODIES", value_parser = FalseyValueParser::new())]
    pub strict_bodies: bool,
    /// Allow only these projects
    #[arg(long, env = "MP_PROXY_ALLOW_PROJECT", value_name = "ID", value_delimiter = ',')]
    pub allow_project: Vec<String>,
    /// Refuse these projects
    #[arg(long, env = "MP_PROXY_DENY_PROJECT", value_name = "ID", value_delimiter = ',')]
    pub deny_project: Vec<String>,
    /// Allow only these accounts
    #[arg(long, env = "MP_PROXY_ALLOW_ACCOUNT", value_name = "NAME", value_delimiter = ',')]
    pub allow_account: Vec<String>,
    /// Refuse these accounts
    #[arg(long, env = "MP_PROXY_DENY_ACCOUNT", value_name = "NAME", value_delimiter = ',')]
    pub deny_account: Vec<String>,
    /// Allow only requests through these targets
    #[arg(long, env = "MP_PROXY_ALLOW_TARGET", value_name = "NAME", value_delimiter = ',')]
    pub allow_target: Vec<String>,
    /// Refuse these targets
    #[arg(long, env = "MP_PROXY_DENY_TARGET", value_name = "NAME", value_delimiter = ',')]
    pub deny_target: Vec<String>,
    /// Allow only these routes: a path prefix such as /api/query, or GET /api/query/insights
    #[arg(long, env = "MP_PROXY_ALLOW_ROUTE", value_name = "ROUTE", value_delimiter = ',')]
    pub allow_route: Vec<String>,
    /// Refuse these routes
    #[arg(long, env = "MP_PROXY_DENY_ROUTE", value_name = "ROUTE", value_delimiter = ',')]
    pub deny_route: Vec<String>,
    /// Allow only these methods
    #[arg(long, env = "MP_PROXY_ALLOW_METHOD", value_name = "METHOD", value_delimiter = ',')]
    pub allow_method: Vec<String>,
    /// Refuse these methods
    #[arg(long, env = "MP_PROXY_DENY_METHOD", value_name = "METHOD", value_delimiter = ',')]
    pub deny_method: Vec<String>,
    /// How requests are paced.
    #[command(flatten)]
    pub pace: Pace,
    /// Append one line of JSON to this file for each request and each event of a credential
    #[arg(long, env = "MP_PROXY_AUDIT_FILE", value_name = "PATH", help_heading = "Audit")]
    pub audit_file: Option<PathBuf>,
    /// Refuse requests while the audit file cannot be written
    #[arg(long, env = "MP_PROXY_AUDIT_REQUIRED", value_parser = FalseyValueParser::new(), help_heading = "Audit")]
    pub audit_required: bool,
    /// Let equal reads that are in flight at the same time share one call to Mixpanel
    #[arg(long, env = "MP_PROXY_COALESCE", value_parser = FalseyValueParser::new(), help_heading = "Quotas")]
    pub coalesce: bool,
    /// Keep answers of metadata reads for so many seconds; 0 keeps none
    #[arg(long, env = "MP_PROXY_CACHE_TTL", value_name = "SECONDS", default_value = "0", help_heading = "Quotas", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub cache_ttl: u64,
}

impl Governance {
    /// What the flags ask for.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a list entry that is none.
    pub fn options(self, env: &Env) -> Result<governance::Options, Refusal> {
        let usual = || env.home().map(|home| Place::Usual(home.join(".mp/proxy.toml")));
        let named = self.policy_file.filter(|path| !path.as_os_str().is_empty());
        let policy = match named {
            Some(path) => Place::Named(env.cwd().join(path)),
            None => usual().unwrap_or_default(),
        };
        let rules = Rules {
            source: "the flags of mp-proxy".to_owned(),
            access: if self.read_only { Access::ReadOnly } else { Access::Full },
            bodies: if self.strict_bodies { Bodies::Strict } else { Bodies::Inspect },
            accounts: lists("account", self.allow_account, self.deny_account, name)?,
            targets: lists("target", self.allow_target, self.deny_target, name)?,
            projects: lists("project", self.allow_project, self.deny_project, project)?,
            routes: lists("route", self.allow_route, self.deny_route, route)?,
            methods: lists("method", self.allow_method, self.deny_method, method)?,
            ..Rules::default()
        };
        let share = share::Options {
            in_flight: if self.coalesce { InFlight::Together } else { InFlight::Alone },
            ttl: (self.cache_ttl > 0).then(|| Duration::from_secs(self.cache_ttl)),
        };
        let named = self.audit_file.filter(|path| !path.as_os_str().is_empty());
        if named.is_none() && self.audit_required {
            let message = "`--audit-required` needs a file";
            return Err(Refusal::new(Code::InvalidArgument, message).hint("add --audit-file PATH"));
        }
        let on_failure = if self.audit_required { OnFailure::Refuse } else { OnFailure::GoOn };
        let audit = named.map(|path| audit::Options { path: env.cwd().join(path), on_failure });
        Ok(governance::Options { policy, rules, pace: self.pace.options(env), share, audit })
    }
}

/// A flag that is not given allows all: an empty `allow` is made in the file only.
fn lists<T>(
    what: &str,
    allow: Vec<String>,
    deny: Vec<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Lists<T>, Refusal> {
    let all = |flag: &str, texts: Vec<String>| {
        let texts = texts.into_iter().filter(|text| !text.is_empty());
        let one = |text: String| {
            parse(&text).map_err(|rule| {
                let message = format!("`--{flag}-{what}` holds {text:?}, it {rule}");
                Refusal::new(Code::InvalidArgument, message)
                    .hint(format!("mend the value, or leave `--{flag}-{what}` out; mp-proxy serve --help has the forms"))
            })
        };
        texts.map(one).collect::<Result<Vec<T>, Refusal>>()
    };
    let allow = all("allow", allow)?;
    Ok(Lists { allow: (!allow.is_empty()).then_some(allow), deny: all("deny", deny)? })
}

fn name(text: &str) -> Result<String, String> {
    Name::parse(text).map(|name| name.to_string()).map_err(|rule| rule.to_string())
}

fn project(text: &str) -> Result<ProjectId, String> {
    let id = ProjectId::parse(text).map_err(|rule| rule.to_string())?;
    if text.starts_with('0') { Err("must not begin with 0".into()) } else { Ok(id) }
}

fn route(text: &str) -> Result<RouteRule, String> {
    RouteRule::parse(text).map_err(str::to_owned)
}

fn method(text: &str) -> Result<String, String> {
    if is_method(text) { Ok(text.into()) } else { Err("must be a method in capitals".into()) }
}
