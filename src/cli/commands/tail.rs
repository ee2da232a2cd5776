//! `mp-proxy tail`: requests of a running proxy as they happen, in the terminal.

use crate::{
    cli::{
        args::Tail,
        commands::print,
        error::{Form, report},
        local,
    },
    model::refusal::Refusal,
    sys::env::Env,
};
use serde_json::Value;
use std::{fmt::Write as _, io::BufRead as _, process::ExitCode};

/// Runs the command until the proxy ends or nobody reads.
#[must_use]
pub fn tail(args: &Tail, env: &Env) -> ExitCode {
    match follow(args, env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => report(&refusal, Form::Text),
    }
}

fn follow(args: &Tail, env: &Env) -> Result<(), Refusal> {
    let place = args.place.reached();
    let name = place.name();
    let gone = |error: std::io::Error| {
        Refusal::config(format!("no mp-proxy answers at `{name}`: {error}"))
            .hint(format!("mp-proxy serve {}", place.flag()))
    };
    let answer = local::get(&place, "/_mp/events", env, None).map_err(gone)?;
    if answer.status != 200 {
        let status = answer.status;
        let (said, hint) = answer.refusal();
        let message = format!("mp-proxy at `{name}` answers {status}: {said}");
        return Err(Refusal::config(message).hint(hint));
    }
    for line in answer.body.lines() {
        let line = line.map_err(gone)?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let message: Value = serde_json::from_str(data).unwrap_or_default();
        let mut text = String::new();
        for request in message["requests"].as_array().into_iter().flatten() {
            if args.json {
                let _ = writeln!(text, "{request}");
            } else {
                for_people(&mut text, request);
            }
        }
        if let Some(missed) = message["missed"].as_u64().filter(|missed| *missed > 0 && !args.json)
        {
            let _ = writeln!(text, "({missed} more than can be shown)");
        }
        // A reader that has enough ends it quietly, as `head` does.
        if print(&text).is_err() {
            break;
        }
    }
    Ok(())
}

fn for_people(text: &mut String, request: &Value) {
    let word = |name: &str| request[name].as_str().unwrap_or_default();
    let number = |name: &str| request[name].as_f64().unwrap_or_default();
    let clock = word("timestamp").get(11..23).unwrap_or_default();
    let names: Vec<_> =
        request["query"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let query = if names.is_empty() { String::new() } else { format!("?{}", names.join("&")) };
    let whom = match request.get("account") {
        Some(_) => format!("{}/{}", word("account"), word("project")),
        None => word("code").to_owned(),
    };
    let _ = writeln!(
        text,
        "{clock} {} {:<6} {:>9.1} ms  {:<24} {}{query}",
        request["status"],
        word("method"),
        number("ms"),
        whom,
        word("path"),
    );
}
