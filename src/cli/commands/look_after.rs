//! `mp-proxy health`, `wait` and `stop`: is a proxy there, will it be, shall it go.

use crate::{
    cli::{
        args::{Health, Patient},
        commands::print,
        error::{Form, report},
        local,
    },
    model::refusal::Refusal,
    proxy::listen::Place,
    sys::{
        env::Env,
        run_file::{Running, running},
    },
};
use rustix::process::{Signal, kill_process, test_kill_process};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// `mp-proxy health`: exit code 0 if it is.
#[must_use]
pub fn health(args: &Health, env: &Env) -> ExitCode {
    let path = if args.live { "/_mp/livez" } else { "/_mp/readyz" };
    finish(ask(&args.place.reached(), path, env).and_then(|()| say("healthy\n")))
}

/// `mp-proxy wait`: returns when the proxy is ready.
#[must_use]
pub fn wait(args: &Patient, env: &Env) -> ExitCode {
    let end = Instant::now() + Duration::from_secs(args.timeout);
    finish(loop {
        match ask(&args.place.reached(), "/_mp/readyz", env) {
            Ok(()) => break say("ready\n"),
            Err(refusal) if Instant::now() >= end => {
                break Err(Refusal { message: format!("gave up: {}", refusal.message), ..refusal });
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    })
}

/// `mp-proxy stop`: asks the process to end, and returns when it has.
#[must_use]
pub fn stop(args: &Patient, env: &Env) -> ExitCode {
    finish(end_it(args, env))
}

fn end_it(args: &Patient, env: &Env) -> Result<(), Refusal> {
    let name = args.place.reached().name();
    let failed = |error: std::io::Error| {
        Refusal::config(format!("cannot stop the mp-proxy at `{name}`: {error}"))
    };
    let pid = match running(env, &name).map_err(failed)? {
        Running::Process(pid) => pid,
        Running::Elsewhere => {
            return Err(Refusal::config(format!("the mp-proxy at `{name}` runs in a container"))
                .hint("stop the container"));
        }
        Running::Nobody => {
            return Err(Refusal::config(format!("no mp-proxy of yours listens at `{name}`"))
                .hint("pass --listen ADDR:PORT as `serve` printed it, or --unix-socket PATH"));
        }
    };
    kill_process(pid, Signal::TERM).map_err(|error| failed(error.into()))?;
    let end = Instant::now() + Duration::from_secs(args.timeout);
    while running(env, &name).map_err(failed)? == Running::Process(pid) {
        if Instant::now() >= end {
            return Err(Refusal::config(format!("process {pid} is still finishing requests"))
                .hint("wait longer with --timeout, or stop it again to cut them off"));
        }
        std::thread::sleep(PAUSE);
    }
    // The note goes a moment before the process does.
    while test_kill_process(pid).is_ok() && Instant::now() < end && !is_zombie(pid) {
        std::thread::sleep(PAUSE);
    }
    say("stopped\n")
}

/// Dead, but not yet collected by its parent.
fn is_zombie(pid: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

fn ask(place: &Place, path: &str, env: &Env) -> Result<(), Refusal> {
    let name = place.name();
    match local::get(place, path, env, Some(ANSWER)) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => {
            let status = answer.status;
            let message = format!("mp-proxy at `{name}` answers {status}: {}", answer.refusal().0);
            Err(Refusal::config(message).hint(place.curl(path)))
        }
        Err(error) => Err(Refusal::config(format!("no mp-proxy answers at `{name}`: {error}"))
            .hint(format!("mp-proxy serve {}", place.flag()))),
    }
}

fn say(text: &str) -> Result<(), Refusal> {
    print(text).map_err(|error| Refusal::config(format!("cannot write to stdout: {error}")))
}

fn finish(outcome: Result<(), Refusal>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => report(&refusal, Form::Text),
    }
}
