//! `mp-proxy quota`: what is left of each project's budget, when the next slot comes, and who
//! used it. Asks the proxy that runs, if one does, and reads every other ledger of this machine;
//! Mixpanel is not asked.

use crate::{
    cli::{
        args::Quota,
        local,
        output::{Answer, Column, Notes},
    },
    model::refusal::Refusal,
    proxy::pace::{Options, counted::Family, now, report::Report},
    store::{
        pacer_place::{self, Found},
        pacer_settings::PacerSettings,
    },
    sys::env::Env,
};
use serde::Deserialize;
use std::{
    io::{self, Read as _},
    process::ExitCode,
    time::Duration,
};

/// The longest list that a proxy is believed to have.
const LONGEST: u64 = 8 * 1024 * 1024;
/// How long a proxy may take.
const PATIENCE: Duration = Duration::from_secs(2);

const COLUMNS: [Column; 12] = [
    Column::shown("project", "PROJECT"),
    Column::shown("family", "FAMILY"),
    Column::shown("host", "HOST"),
    Column::shown("used", "USED"),
    Column::shown("remaining", "LEFT"),
    Column::shown("limit", "LIMIT"),
    Column::hidden("limit_source"),
    Column::shown("next_seconds", "NEXT SLOT IN S"),
    Column::hidden("blocked_until"),
    Column::shown("waiting", "WAITING"),
    Column::shown("used_by", "USED BY"),
    Column::hidden("source"),
];

/// Runs the command.
#[must_use]
pub fn quota(args: &Quota, env: &Env, notes: Notes) -> ExitCode {
    args.output.door(notes).finish(answer(args, env))
}

fn answer(args: &Quota, env: &Env) -> Result<Answer, Refusal> {
    let name = args.place.reached().name();
    let (live, note) = match ask(args, env) {
        Ok(said) if said.pace == "off" => {
            (Vec::new(), format!("mp-proxy at `{name}` counts nothing (--pace off)"))
        }
        Ok(said) => (said.quotas, format!("as mp-proxy at `{name}` and the ledgers have it")),
        Err(error) => (Vec::new(), format!("{error}: as the ledgers have it")),
    };
    let wanted = |report: &Report| args.project.as_ref().is_none_or(|id| *id == report.project);
    let ledgers = ledgers(args, env);
    // What a proxy says stands above the file: it knows what waits, and what Mixpanel told it.
    let others = ledgers.into_iter().filter(|one| !live.iter().any(|report| report.is_of(one)));
    let mut rows: Vec<Report> = others.chain(live.iter().cloned()).filter(wanted).collect();
    rows.sort_by(|a, b| (&a.project, a.family, &a.host).cmp(&(&b.project, b.family, &b.host)));
    let empty = "No counted request so far: every budget is untouched.";
    Ok(Answer::records(&rows, &COLUMNS, empty)?.note(note))
}

/// What `/_mp/quota` answers.
#[derive(Debug, Deserialize)]
struct Said {
    pace: String,
    quotas: Vec<Report>,
}

/// Asks the proxy; an error says why there is no answer.
fn ask(args: &Quota, env: &Env) -> Result<Said, String> {
    let place = args.place.reached();
    let name = place.name();
    let nobody = |error: io::Error| format!("no mp-proxy answers at `{name}` ({error})");
    let answer = local::get(&place, "/_mp/quota", env, Some(PATIENCE)).map_err(nobody)?;
    if answer.status != 200 {
        let status = answer.status;
        let (said, hint) = answer.refusal();
        return Err(format!("what listens at `{name}` answers {status} ({said}; {hint})"));
    }
    let mut text = Vec::new();
    answer.body.take(LONGEST).read_to_end(&mut text).map_err(nobody)?;
    serde_json::from_slice(&text)
        .map_err(|_| format!("what listens at `{name}` is no mp-proxy of this version"))
}

/// Every ledger below the storage root.
fn ledgers(args: &Quota, env: &Env) -> Vec<Report> {
    let knobs = PacerSettings::load(env);
    let options = Options {
        query_limit: args.pace_query_limit.or(knobs.query_limit),
        query_limits: knobs.query_limits,
        window: f64::from(args.pace_window),
        ..Options::default()
    };
    let report = |Found { host, project, family, place }: Found| {
        let family = [Family::Query, Family::Export]
            .into_iter()
            .find(|known| known.as_str() == family.as_str())?;
        let (budget, now) = (options.budget(family, &project), now());
        let ledger = place.peek(budget.limit, now);
        let left = budget.left(&ledger, 0.0, now);
        Some(Report::of((project, host), &budget, &ledger, &place.peek_who(), left, now))
    };
    pacer_place::all(env).into_iter().filter_map(report).collect()
}
