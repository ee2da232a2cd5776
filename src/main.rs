//! The binary: arguments to a command, a command to an exit code.

use clap::{CommandFactory as _, Parser as _};
use clap_complete::CompleteEnv;
use mp_proxy::{
    cli::{
        args::Cli,
        commands::{self, shell::ASKING},
    },
    sys::env::Env,
};
use std::{process::ExitCode, sync::Arc};

fn main() -> ExitCode {
    CompleteEnv::with_factory(Cli::command).var(ASKING).complete();
    match Cli::try_parse() {
        Ok(cli) => commands::run(cli, Arc::new(Env::process())),
        Err(error) => {
            let _ = error.print();
            // Help and version are no error; wrong arguments exit 3 as the reference's do.
            ExitCode::from(if error.use_stderr() { 3 } else { 0 })
        }
    }
}
