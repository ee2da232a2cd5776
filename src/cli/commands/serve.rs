//! `mp-proxy serve`: the proxy in the foreground until a signal ends it.

use super::service::{self, Service};
use crate::{
    auth::{first_run, resolve::resolve},
    cli::{
        args::{Log, LogFormat, LogLevel, Serve},
        commands::print,
        error::{Form, report},
        local,
        signals::{self, first_signal},
    },
    model::refusal::{Code, Refusal},
    proxy::{
        forward::Timeouts,
        listen::{Listen, Place},
        observe::line::Colour,
        server::{Ended, Options, Server, StartError},
        warm_up::WarmUp,
    },
    sys::{env::Env, hardening, run_file::RunFile},
};
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tracing_subscriber::filter::LevelFilter;

/// Runs the command.
#[must_use]
pub fn serve(args: Serve, env: Arc<Env>) -> ExitCode {
    start_log(&args.log, &env);
    let outcome = args.listener.listen().and_then(|listen| {
        let listen = Listen { inherited: service::inherited()?, ..listen };
        let descriptors = hardening::settle(args.limits.max_open_files);
        let options = options(args, listen, descriptors, &env)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Refusal::config(format!("cannot start the runtime: {error}")))?;
        let outcome = runtime.block_on(run(options, env));
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Hurried) => ExitCode::from(signals::FORCED),
        Err(refusal) => report(&refusal, Form::Text),
    }
}

pub(super) fn options(
    args: Serve,
    listen: Listen,
    descriptors: u64,
    env: &Env,
) -> Result<Options, Refusal> {
    Ok(Options {
        listen,
        upstream: args.upstream,
        base: args.axes.selection()?,
        client_authorization: args.client_authorization,
        limits: args.limits.chosen(descriptors),
        timeouts: Timeouts {
            connect: Duration::from_secs(args.connect_timeout),
            header: Duration::from_secs(args.header_timeout),
            idle: Duration::from_secs(args.idle_timeout),
        },
        threads: args.threads,
        warm_up: if args.warm_up { WarmUp::AtStart } else { WarmUp::Never },
        governance: args.governance.options(env)?,
        log: args.log.requests(),
    })
}

async fn run(options: Options, env: Arc<Env>) -> Result<Ended, Refusal> {
    let server = Server::bind(options, Arc::clone(&env)).map_err(|error| cannot_start(&error))?;
    let proxy = server.proxy();
    tracing::info!(limits = %proxy.limits().json(), "limits");
    match resolve(&proxy.snapshot(), proxy.base()) {
        Ok(session) => {
            for warning in &session.warnings {
                tracing::warn!("{warning}");
            }
            tracing::info!(account = %session.account.name, project = %session.project, region = %session.account.region, "base session");
        }
        Err(refusal) if refusal.hint.as_deref() == Some(&first_run::hint()) => {
            tracing::warn!(code = refusal.code.as_str(), "no base session. {}", first_run::text());
        }
        // Requests that name all they need still work, and the files can heal.
        Err(refusal) => {
            let hint = refusal.hint.as_deref().unwrap_or_default();
            tracing::warn!(code = refusal.code.as_str(), hint, "no base session: {refusal}");
        }
    }
    let places = server.places();
    // One line, whatever there is: the first place; a unix socket beside it is where the user put it.
    let first = places.first().map(ToString::to_string).unwrap_or_default();
    if let Some(page) = places.iter().map(ToString::to_string).find(|url| url.starts_with("http")) {
        tracing::info!(url = %format_args!("{page}/_mp/"), "inspector, for the browser");
    }
    print(&format!("{first}\n"))
        .map_err(|error| Refusal::config(format!("cannot write the address to stdout: {error}")))?;
    let shared = server.shared();
    let stop = first_signal(move || shared.hurry())?;
    let notes = places.iter().map(|place| RunFile::leave(&env, &place.name()));
    let _notes: Vec<_> = notes
        .map(|note| {
            note.map_err(
                |error| tracing::debug!(%error, "`mp-proxy stop` will not find this process"),
            )
        })
        .collect();
    let _service = Service::start(&server)?;
    let stop = async {
        stop.await;
        service::stopping();
    };
    server.run(stop).await.map_err(|error| cannot_start(&error))
}

pub(super) fn cannot_start(error: &StartError) -> Refusal {
    let refusal = Refusal::new(Code::ConfigError, error.to_string());
    match error {
        StartError::Listen { address, source, cert }
            if source.kind() == std::io::ErrorKind::AddrInUse =>
        {
            let with = |cert: &PathBuf| held_by_us(&Place::Tls(*address, cert.clone()));
            let ours = held_by_us(&Place::Tcp(*address)) || cert.as_ref().is_some_and(with);
            let holder = if ours { "another mp-proxy" } else { "another program" };
            Refusal { message: format!("`{address}` is taken by {holder}"), ..refusal }
                .hint("stop it, or pass --listen 127.0.0.1:0 for any free port")
        }
        StartError::Listen { .. } => refusal.hint("pass --listen 127.0.0.1:PORT"),
        StartError::Unix(error) => refusal.hint(error.hint()),
        StartError::Inherited(_) => refusal.hint("check ListenStream= of the socket unit"),
        StartError::Roots(_) => {
            refusal.hint("install the ca-certificates package, or set SSL_CERT_FILE")
        }
        StartError::Upstream(_) => refusal.hint("correct --upstream"),
        StartError::Thread(_) => refusal.hint("raise the limit on processes, or lower --threads"),
        StartError::Governance(wrong) | StartError::Tls(wrong) => wrong.clone(),
        StartError::NotLoopback(_) => refusal.hint("pass --client-token-file FILE (a token, mode 0600), or listen on 127.0.0.1; --insecure-allow-remote lets everybody in"),
        StartError::Callers(refusal) => refusal.clone(),
    }
}

/// Asks the holder of the port who it is.
fn held_by_us(place: &Place) -> bool {
    let patience = Some(Duration::from_millis(500));
    local::get_public(place, None, "/_mp/version", patience)
        .is_ok_and(|answer| answer.text().contains(r#""name":"mp-proxy""#))
}

pub(super) fn start_log(log: &Log, env: &Env) {
    let level = match (log.quiet, log.log_level) {
        (true, _) | (_, LogLevel::Error) => LevelFilter::ERROR,
        (_, LogLevel::Warn) => LevelFilter::WARN,
        (_, LogLevel::Info) => LevelFilter::INFO,
        (_, LogLevel::Debug) => LevelFilter::DEBUG,
        (_, LogLevel::Trace) => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // A log that cannot be written, on a full disk or a closed pipe, ends nothing.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(Colour::of_stderr(env) == Colour::Ansi);
    // A second start in one process keeps the first log.
    let _ = match log.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
