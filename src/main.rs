//! The binary: arguments to a command, a command to an exit code.

use clap::Parser as _;
use mp_proxy::{
    cli::{
        args::{Cli, Command, SessionCommand},
        commands,
    },
    sys::env::Env,
};
use std::{process::ExitCode, sync::Arc};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version are no error; wrong arguments exit 3 as the reference's do.
            return ExitCode::from(if error.use_stderr() { 3 } else { 0 });
        }
    };
    let env = Arc::new(Env::process());
    match cli.command {
        Command::Serve(args) => commands::serve::serve(args, env),
        Command::Session(SessionCommand::Show(args)) => commands::session::show(args, env),
        #[cfg(feature = "demo")]
        Command::Demo(args) => commands::demo::demo(&args),
    }
}
