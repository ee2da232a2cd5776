//! One file per noun of the command line, and the dispatch to them.

pub mod account;
pub mod account_add;
pub mod axis;
pub mod bridge;
#[cfg(feature = "demo")]
pub mod demo;
pub mod login;
pub mod look_after;
pub mod quota;
pub mod reach;
pub mod run;
pub mod serve;
mod service;
pub mod session;
pub mod session_file;
pub mod shell;
pub mod tail;
pub mod target;

use super::{
    args::{AccountCommand, Axes, Cli, Command, Log, SessionCommand},
    error::{Form, INTERRUPTED, report},
    output::Notes,
};
use crate::sys::{env::Env, hardening};
use std::{process::ExitCode, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

pub(super) use super::output::print;

/// Runs the command that the arguments name.
#[must_use]
pub fn run(cli: Cli, env: Arc<Env>) -> ExitCode {
    let Cli { axes, quiet, verbose, mut command } = cli;
    let notes = if quiet { Notes::Hide } else { Notes::Show };
    hardening::forbid_dumps();
    hardening::silence_panics();
    match command {
        // They have work to end first.
        Command::Serve(_) | Command::Run(_) => {}
        #[cfg(feature = "demo")]
        Command::Demo(_) => {}
        _ => exit_when_interrupted(),
    }
    if verbose {
        match &mut command {
            Command::Serve(args) => args.log.raise(),
            Command::Run(args) => args.serve.log.raise(),
            _ => serve::start_log(&Log::verbose(), &env),
        }
        tracing::debug!(set = %env.names("MP_").join(", "), "variables");
    }
    // Even where the command needs no session: what was named contradicts itself.
    if let Err(refusal) = axes.check() {
        return report(&refusal, Form::asked_for(std::env::args_os()));
    }
    match command {
        Command::Login(args) => login::login(*args, &env, notes),
        Command::Account(command) => run_account(command, axes, &env, notes),
        Command::Target(command) => target::target(&command, &env, notes),
        Command::Project(command) => axis::project(&command, axes, &env, notes),
        Command::Workspace(command) => axis::workspace(&command, axes, &env, notes),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Serve(mut args) => {
            args.axes = args.axes.or(axes, &env);
            args.log.quiet |= quiet;
            serve::serve(*args, env)
        }
        Command::Session(SessionCommand::Use(args)) => session_file::activate(&args, &env, notes),
        Command::Session(SessionCommand::Show(args)) if args.persisted || args.bridge => {
            session_file::show(&args, &env, notes)
        }
        Command::Session(SessionCommand::Show(mut args)) => {
            args.axes = args.axes.or(axes, &env);
            session::show(args, env)
        }
        Command::Run(mut args) => {
            args.serve.axes = args.serve.axes.or(axes, &env);
            args.serve.log.quiet |= quiet;
            run::run(*args, env)
        }
        Command::Health(args) => look_after::health(&args, &env),
        Command::Wait(args) => look_after::wait(&args, &env),
        Command::Stop(args) => look_after::stop(&args, &env),
        Command::Tail(args) => tail::tail(&args, &env),
        Command::Quota(args) => quota::quota(&args, &env, notes),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::demo(&args),
    }
}

/// Ctrl-C ends a command with exit code 130, not by signal: a caller without a shell sees it so.
/// Whatever is written is written atomically.
fn exit_when_interrupted() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else {
        return;
    };
    // Here, not in the thread: from now on no Ctrl-C comes too early.
    let interrupted = {
        let _inside = runtime.enter();
        signal(SignalKind::interrupt())
    };
    let Ok(mut interrupted) = interrupted else { return };
    std::thread::spawn(move || {
        runtime.block_on(interrupted.recv());
        std::process::exit(INTERRUPTED)
    });
}

fn run_account(command: AccountCommand, axes: Axes, env: &Env, notes: Notes) -> ExitCode {
    match command {
        AccountCommand::List(args) => account::list(&args, env, notes),
        AccountCommand::Add(args) => account_add::add(&args, env, notes),
        AccountCommand::Update(args) => account::update(&args, env, notes),
        AccountCommand::Remove(args) => account::remove(&args, env, notes),
        AccountCommand::Use(args) => account::activate(&args, env, notes),
        AccountCommand::Show(args) => account::show(&args, env, notes),
        AccountCommand::Test(args) => reach::test(&args, axes, env, notes),
        AccountCommand::Login(args) => login::account_login(&args, env, notes),
        AccountCommand::Logout(args) => account::logout(&args, env, notes),
        AccountCommand::Token(args) => account::token(&args, env, notes),
        AccountCommand::ExportBridge(args) => bridge::export(&args, env, notes),
        AccountCommand::RemoveBridge(args) => bridge::remove(&args, env, notes),
    }
}
