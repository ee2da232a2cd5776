//! `mp-proxy quota`: what is left of each project's budget, when the next slot comes, and who
//! used it. Read from the ledgers, without a running proxy and without asking Mixpanel.

use crate::{
    cli::{
        args::Quota,
        output::{Answer, Column, Notes},
    },
    model::refusal::Refusal,
    proxy::pace::{Options, counted::Family, now},
    store::{
        pacer_ledger::{self, LimitSource, Place, Who, same},
        pacer_settings::PacerSettings,
    },
    sys::env::Env,
};
use serde::Serialize;
use std::{collections::BTreeMap, process::ExitCode};

/// Runs the command.
#[must_use]
pub fn quota(args: &Quota, env: &Env, notes: Notes) -> ExitCode {
    args.output.door(notes).finish(answer(args, env))
}

const COLUMNS: [Column; 10] = [
    Column::shown("project", "PROJECT"),
    Column::shown("family", "FAMILY"),
    Column::shown("host", "HOST"),
    Column::shown("used", "USED"),
    Column::shown("remaining", "LEFT"),
    Column::shown("limit", "LIMIT"),
    Column::hidden("limit_source"),
    Column::shown("next_seconds", "NEXT SLOT IN S"),
    Column::hidden("blocked_until"),
    Column::shown("used_by", "USED BY"),
];

/// One budget.
#[derive(Debug, Serialize)]
struct Row {
    project: String,
    family: &'static str,
    host: String,
    used: u32,
    remaining: u32,
    limit: u32,
    limit_source: LimitSource,
    next_seconds: u64,
    blocked_until: Option<f64>,
    used_by: Vec<String>,
}

fn answer(args: &Quota, env: &Env) -> Result<Answer, Refusal> {
    let knobs = PacerSettings::load(env);
    let options = Options {
        query_limit: args.pace_query_limit.or(knobs.query_limit),
        query_limits: knobs.query_limits,
        window: f64::from(args.pace_window),
        ..Options::default()
    };
    let now = now();
    let mut rows: Vec<Row> = pacer_ledger::all(env)
        .into_iter()
        .filter(|found| args.project.as_ref().is_none_or(|project| *project == found.project))
        .filter_map(|found| {
            let family = [Family::Query, Family::Export]
                .into_iter()
                .find(|family| family.as_str() == found.family)?;
            Some(row(&options, family, found.host, found.project, &found.place, now))
        })
        .collect();
    rows.sort_by(|a, b| (&a.project, a.family, &a.host).cmp(&(&b.project, b.family, &b.host)));
    Answer::records(&rows, &COLUMNS, "No counted request so far: every budget is untouched.")
}

fn row(
    options: &Options,
    family: Family,
    host: String,
    project: String,
    place: &Place,
    now: f64,
) -> Row {
    let budget = options.budget(family, &project);
    let ledger = place.peek(budget.limit, now);
    let (used, remaining) = budget.used_and_left(&ledger, now);
    let since = now - budget.window;
    let recent: Vec<f64> = ledger.sent.iter().copied().filter(|at| *at > since).collect();
    Row {
        family: family.as_str(),
        host,
        used,
        remaining,
        limit: budget.limit(&ledger, now),
        limit_source: match (budget.configured, ledger.learned(now)) {
            (Some(_), _) => LimitSource::Configured,
            (None, Some(_)) => LimitSource::Server,
            (None, None) => LimitSource::Default,
        },
        next_seconds: (budget.slot(&ledger, now) - now).max(0.0).ceil() as u64,
        blocked_until: ledger.blocked_until.filter(|until| *until > now),
        used_by: used_by(&recent, &place.peek_who()),
        project,
    }
}

/// Callers and the accounts that they went as, busiest first; the rest is `mp` or another program.
fn used_by(recent: &[f64], who: &[Who]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for at in recent {
        let name = who.iter().find(|one| same(one.at, *at)).map_or_else(
            || "mp or another program".to_owned(),
            |one| format!("{} as {}", one.caller, one.account),
        );
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().map(|(name, count)| format!("{name}: {count}")).collect()
}
