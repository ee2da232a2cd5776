//! One file per noun of the command line, and the dispatch to them.

#[cfg(feature = "demo")]
pub mod demo;
pub mod login;
pub mod look_after;
pub mod quota;
pub mod run;
pub mod serve;
mod service;
pub mod session;
pub mod tail;

use super::{
    args::{AccountCommand, Cli, Command, SessionCommand},
    output::Notes,
};
use crate::sys::{env::Env, hardening};
use std::{process::ExitCode, sync::Arc};

pub(super) use super::output::print;

/// Runs the command that the arguments name.
#[must_use]
pub fn run(cli: Cli, env: Arc<Env>) -> ExitCode {
    let Cli { axes, quiet, command } = cli;
    let notes = if quiet { Notes::Hide } else { Notes::Show };
    hardening::forbid_dumps();
    match command {
        Command::Login(args) => login::login(*args, &env, notes),
        Command::Account(AccountCommand::Login(args)) => login::account_login(&args, &env, notes),
        Command::Serve(mut args) => {
            args.axes = args.axes.or(axes, &env);
            args.log.quiet |= quiet;
            serve::serve(*args, env)
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
