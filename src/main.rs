//! The binary: arguments to a command, a command to an exit code.

use clap::{CommandFactory as _, Parser as _};
use clap_complete::CompleteEnv;
use mp_proxy::{
    cli::{
        args::Cli,
        commands::{self, shell::ASKING},
        error::{Form, usage},
    },
    sys::env::Env,
};
use std::{process::ExitCode, sync::Arc};

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).var(ASKING).complete();
    match Cli::try_parse() {
        Ok(cli) => commands::run(cli, Arc::new(Env::process())),
        Err(error) => usage(&error, Form::asked_for(std::env::args_os())),
    }
}
