//! The person at the terminal, as a login sees him: progress and notes on stderr, a browser to
//! open, a line to paste, a project to pick. Used by `commands/login.rs` and the demo.
//! Invariant: stdout is left alone; stdin is read only where a paste or a choice was asked for,
//! and not a byte of it after that.

mod browser;
mod paste;
mod ticker;

use super::output::Notes;
use crate::{
    auth::oauth::login::{Paste, Person},
    model::refusal::{Code, Refusal},
    ops::login::project::Choice,
    sys::env::Env,
};
use browser::Launcher;
use dialoguer::Select;
use oauth2::url::Url;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use ticker::Ticker;

/// How a URL gets into a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Browse {
    /// It is opened.
    Open,
    /// It is printed, and the redirect may be pasted.
    Print,
}

/// Something that may take a while, until this is dropped: then a terminal shows for how long.
#[derive(Debug)]
pub struct Wait(#[expect(dead_code, reason = "its end is what counts")] Ticker);

impl Wait {
    /// Begins to wait.
    #[must_use]
    pub fn with(notes: Notes, what: &str) -> Self {
        let ticker = Ticker::start(notes);
        ticker.quietly(what);
        Self(ticker)
    }
}

/// The terminal.
#[derive(Debug)]
pub struct Terminal {
    browse: Browse,
    notes: Notes,
    ticker: Ticker,
    launcher: Launcher,
}

impl Terminal {
    /// A terminal for one login.
    #[must_use]
    pub fn new(browse: Browse, notes: Notes, env: &Env) -> Self {
        Self { browse, notes, ticker: Ticker::start(notes), launcher: Launcher::new(env) }
    }

    /// Lets the person choose; `None` if stdin is no terminal. Blocks.
    ///
    /// # Errors
    /// `CONFIG_ERROR` after three answers that are none.
    pub fn pick(&self, choices: &[Choice]) -> Result<Option<usize>, Refusal> {
        const TRIES: usize = 3;
        self.ticker.rest();
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let hint = "run the same command again with --project ID, or set MP_PROJECT_ID";
        say("Several projects can be read:");
        for (index, choice) in choices.iter().enumerate() {
            say(&format!("  {:>3}) {}", index + 1, choice.label));
        }
        for _ in 0..TRIES {
            ask("Which one? Its number, or Enter for the list with arrow keys: ");
            let mut line = String::new();
            let read = io::stdin().lock().read_line(&mut line);
            if read.is_ok_and(|bytes| bytes == 0) {
                return Err(Refusal::config("stdin ended before a project was chosen").hint(hint));
            }
            let line = line.trim();
            if line.is_empty() {
                let labels = choices.iter().map(|choice| &choice.label);
                // Escape leads back to the question.
                if let Ok(Some(index)) = Select::new().items(labels).default(0).interact_opt() {
                    return Ok(Some(index));
                }
                continue;
            }
            match line.parse::<usize>() {
                Ok(number) if (1..=choices.len()).contains(&number) => return Ok(Some(number - 1)),
                _ => say(&format!("that is no number from 1 to {}", choices.len())),
            }
        }
        Err(Refusal::config(format!("no project was chosen in {TRIES} tries")).hint(hint))
    }

    fn show(&self, url: &Url) -> Paste {
        self.ticker.rest();
        say("Open this address in a browser and authorize:");
        say(&format!("\n  {url}\n"));
        say(
            "If the page that it ends at cannot be opened (another machine), paste its address here:",
        );
        paste::from_stdin()
    }
}

impl Person for Terminal {
    fn progress(&self, what: &str) {
        self.ticker.step(what);
    }

    fn note(&self, text: &str) {
        if self.notes == Notes::Show {
            self.ticker.rest();
            say(&format!("note: {text}"));
        }
    }

    fn visit(&self, url: &Url) -> Result<Option<Paste>, Refusal> {
        if self.browse == Browse::Print {
            return Ok(Some(self.show(url)));
        }
        match self.launcher.open(url) {
            Ok(()) => {
                self.ticker.rest();
                say(&format!(
                    "The browser is asked to open this address; if it does not, open it yourself:\n\n  {url}\n"
                ));
                Ok(None)
            }
            Err(_) if io::stdin().is_terminal() => {
                self.note("no browser could be opened");
                Ok(Some(self.show(url)))
            }
            Err(error) => Err(Refusal::new(
                Code::OauthBrowserError,
                format!("no browser could be opened: {}", error.kind()),
            )
            .hint(
                "run the same command again with --no-browser, and open the address that it prints",
            )),
        }
    }
}

/// One line on stderr; a closed one, or a full disk behind it, ends nothing.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn ask(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
