//! `mp-proxy completions` and `mp-proxy man`: both made from the arguments as clap sees them.

use crate::{
    cli::{
        args::{Cli, Completions, Man, shell::Shell},
        commands::print,
        error::{Form, report},
    },
    model::refusal::Refusal,
};
use clap::CommandFactory as _;
use clap_complete::env::Shells;
use std::process::ExitCode;

/// The variable by which a shell asks this program for candidates.
pub const ASKING: &str = "MP_PROXY_COMPLETE";
const NAME: &str = "mp-proxy";

/// Runs `completions`.
#[must_use]
pub fn completions(args: &Completions) -> ExitCode {
    finish(script(args.shell).and_then(|script| show(&script)))
}

fn script(shell: Shell) -> Result<Vec<u8>, Refusal> {
    let shell = match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
    };
    let shells = Shells::builtins();
    let shell = shells
        .completer(shell)
        .ok_or_else(|| Refusal::config(format!("no completions for `{shell}` are built in")))?;
    let mut script = Vec::new();
    shell
        .write_registration(ASKING, &NAME.replace('-', "_"), NAME, NAME, &mut script)
        .map_err(|error| Refusal::config(format!("cannot write the script: {error}")))?;
    Ok(script)
}

/// Runs `man`.
#[must_use]
pub fn man(args: &Man) -> ExitCode {
    finish(pages(args))
}

fn pages(args: &Man) -> Result<(), Refusal> {
    let failed =
        |error: std::io::Error| Refusal::config(format!("cannot write the pages: {error}"));
    let Some(folder) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
        return show(&page);
    };
    let failed = |error: std::io::Error| {
        Refusal::config(format!("cannot write the pages to `{}`: {error}", folder.display()))
            .hint("name a folder that you may write to: mp-proxy man --out DIR")
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(failed)
}

fn show(bytes: &[u8]) -> Result<(), Refusal> {
    print(&String::from_utf8_lossy(bytes))
        .map_err(|error| Refusal::config(format!("cannot write to stdout: {error}")))
}

fn finish(outcome: Result<(), Refusal>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => report(&refusal, Form::Text),
    }
}
