//! Starts the browser of a login. Called by `terminal`.
//! SECURITY: the browser, and all that it starts, gets no variable of ours: a secret in an
//! environment is open to every program of the same user, for as long as the browser runs.

use crate::{store::snapshot::load_once, sys::env::Env};
use oauth2::url::Url;
use std::{
    ffi::OsString,
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What names the browser of a user who has no desktop, or wants another than the desktop's.
const BROWSER: &str = "BROWSER";
/// A launcher that has not failed by then has done its work, or is the browser itself.
const SETTLED: Duration = Duration::from_millis(250);

/// How browsers are started.
#[derive(Debug)]
pub(super) struct Launcher {
    preferred: Vec<Vec<String>>,
    hidden: Vec<OsString>,
}

impl Launcher {
    pub(super) fn new(env: &Env) -> Self {
        let config = &load_once(env).config;
        let tokens = config.iter().flat_map(|config| config.token_variables());
        let hidden = Env::own_names().into_iter().chain(tokens.map(OsString::from)).collect();
        Self { preferred: env.get(BROWSER).map(wishes).unwrap_or_default(), hidden }
    }

    /// Opens the address; says whether a program took it.
    pub(super) fn open(&self, url: &Url) -> io::Result<()> {
        let preferred = self.preferred.iter().filter_map(|words| command(words, url));
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for mut command in preferred.chain(open::commands(url.as_str())) {
            for name in &self.hidden {
                command.env_remove(name);
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            // Ctrl-C ends the login and not the browser.
            command.process_group(0);
            match command.spawn().and_then(settled) {
                Ok(()) => return Ok(()),
                // A launcher that is not there says less than one that failed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The programs of `$BROWSER`: several are separated by colons, `%s` stands for the address.
fn wishes(value: &str) -> Vec<Vec<String>> {
    let words = |one: &str| one.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    value.split(':').map(words).filter(|words| !words.is_empty()).collect()
}

fn command(words: &[String], url: &Url) -> Option<Command> {
    let (program, rest) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(rest.iter().map(|word| word.replace("%s", url.as_str())));
    if !rest.iter().any(|word| word.contains("%s")) {
        command.arg(url.as_str());
    }
    Some(command)
}

/// Waits a moment for an early failure, and leaves the rest to a thread.
fn settled(mut child: Child) -> io::Result<()> {
    let end = Instant::now() + SETTLED;
    while Instant::now() < end {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => return Err(io::Error::other("the launcher failed")),
            None => thread::sleep(Duration::from_millis(10)),
        }
    }
    thread::spawn(move || child.wait());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_a_program_with_or_without_a_place_for_the_address() {
        let url: Url = "https://example.com/?a=1".parse().unwrap();
        let shown: Vec<Vec<String>> = wishes("firefox -P x:: sh -c open=%s :w3m")
            .iter()
            .map(|words| {
                let command = command(words, &url).unwrap();
                let all = std::iter::once(command.get_program()).chain(command.get_args());
                all.map(|word| word.to_string_lossy().into_owned()).collect()
            })
            .collect();
        let wanted = [
            &["firefox", "-P", "x", "https://example.com/?a=1"][..],
            &["sh", "-c", "open=https://example.com/?a=1"],
            &["w3m", "https://example.com/?a=1"],
        ];
        assert_eq!(shown, wanted);
    }
}
