//! Secrets and questions at a real terminal (a pseudo-terminal of the kernel): nothing is echoed,
//! what is typed is stored, Ctrl-C changes nothing and leaves the terminal as it was.

use crate::support::{CONFIG, Home};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

const TYPED: &str = "hunter2-\u{e9}-typed";
const ADD: [&str; 9] =
    ["account", "add", "n", "--type", "service_account", "--region", "us", "--username", "u"];

/// A program on a terminal of its own.
struct OnTerminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    /// Keeps the terminal alive, and tells how it is set.
    slave: File,
}

impl OnTerminal {
    fn start(home: &Home, args: &[&str]) -> Self {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(OsStr::from_bytes(name.as_bytes()))
            .unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        // As a shell does it: a session whose controlling terminal this is, so that Ctrl-C counts.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_mp-proxy")])
            .args(args)
            .env_clear()
            .env("HOME", home.dir.path())
            .current_dir(home.dir.path())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let keys = File::from(master);
        let mut reader = keys.try_clone().unwrap();
        let (sender, screen) = channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count) = reader.read(&mut piece) {
                if count == 0 || sender.send(piece[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, screen, seen: String::new(), slave }
    }

    /// Waits until the screen shows this.
    fn until(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(15);
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            let piece = self.screen.recv_timeout(left).unwrap_or_else(|_| panic!("{}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// The exit code and all that was on the screen.
    fn end(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + Duration::from_secs(15);
        let exit = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            if Instant::now() > end {
                self.child.kill().unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert!(self.echoes(), "the terminal is left without echo");
        while let Ok(piece) = self.screen.recv_timeout(Duration::from_millis(100)) {
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
        (exit, self.seen)
    }

    fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.slave).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }
}

fn stored(home: &Home, field: &str) -> Option<String> {
    let text = fs::read_to_string(home.path(".mp/config.toml")).unwrap();
    let document: toml_edit::DocumentMut = text.parse().unwrap();
    Some(document.get("accounts")?.get("n")?.get(field)?.as_str()?.to_owned())
}

#[test]
fn a_typed_secret_is_stored_and_never_shown() {
    let token = ["account", "add", "n", "--type", "oauth_token", "--region", "us"];
    for (args, field, prompt) in
        [(&ADD[..], "secret", "service account"), (&token, "token", "token")]
    {
        let home = Home::new("");
        let mut terminal = OnTerminal::start(&home, args);
        terminal.until(&format!("{prompt} (not shown): "));
        assert!(!terminal.echoes());
        // Typed wrong, taken back, typed over, and typed right.
        terminal.press("wrong\u{15}hunter2-\u{20ac}\u{7f}\u{e9}-typed\r".as_bytes());
        let (exit, screen) = terminal.end();
        assert_eq!(exit, Some(0), "{screen}");
        assert_eq!(stored(&home, field).as_deref(), Some(TYPED));
        for shown in ["hunter2", "typed", "wrong", "*"] {
            assert!(!screen.contains(shown), "{screen}");
        }
    }
}

#[test]
fn a_long_pasted_secret_arrives_whole_and_a_longer_one_is_refused() {
    let home = Home::new("");
    let long = "x".repeat(64 * 1024);
    let paste = |more: &str| {
        let mut terminal = OnTerminal::start(&home, &ADD);
        terminal.until("(not shown): ");
        terminal.press(format!("{long}{more}\r").as_bytes());
        terminal.end()
    };
    let (exit, screen) = paste("x");
    assert!(exit == Some(3) && screen.contains("longer than 64 KiB"), "{screen}");
    assert_eq!(stored(&home, "secret"), None);
    let (exit, screen) = paste("");
    assert_eq!(exit, Some(0), "{screen}");
    assert_eq!(stored(&home, "secret"), Some(long));
}

#[test]
fn nothing_typed_is_refused_and_changes_nothing() {
    let home = Home::new(CONFIG);
    let keys = [
        (&b"\r"[..], "is empty"),
        (b"  \r", "is empty"),
        (b"\x04", "was entered"),
        (b"a\x1b[D\r", "control character"),
        (b"\xff\r", "not UTF-8"),
    ];
    for (keys, said) in keys {
        let mut terminal = OnTerminal::start(&home, &ADD);
        terminal.until("(not shown): ");
        terminal.press(keys);
        let (exit, screen) = terminal.end();
        assert!(exit == Some(3) && screen.contains(said), "{said}: {screen}");
        assert!(screen.contains("--secret-stdin"), "{screen}");
        assert_eq!(fs::read_to_string(home.path(".mp/config.toml")).unwrap(), CONFIG);
    }
}

#[test]
fn ctrl_c_changes_nothing_and_exits_130() {
    let home = Home::new(CONFIG);
    let asks = [(&ADD[..], "(not shown): "), (&["target", "remove", "ecom"], "[y/N]: ")];
    for (args, question) in asks {
        let mut terminal = OnTerminal::start(&home, args);
        terminal.until(question);
        terminal.press(b"hal\x03");
        let (exit, screen) = terminal.end();
        assert_eq!(exit, Some(130), "{args:?}: {screen}");
        assert_eq!(fs::read_to_string(home.path(".mp/config.toml")).unwrap(), CONFIG);
        assert_eq!(fs::read_dir(home.path(".mp")).unwrap().count(), 1, "nothing beside it");
    }
}

#[test]
fn the_prompt_comes_after_all_that_can_be_refused_without_it() {
    let home = Home::new(CONFIG);
    for args in [
        &["account", "add", "bad name", "--type", "oauth_token", "--region", "us"][..],
        &["account", "add", "n", "--type", "oauth_token", "--region", "mars"],
        &["account", "add", "n", "--type", "service_account", "--region", "us"],
        &["account", "add", "team", "--type", "oauth_token", "--region", "us"],
    ] {
        let (exit, screen) = OnTerminal::start(&home, args).end();
        assert!(exit != Some(0) && !screen.contains("not shown"), "{args:?}: {screen}");
    }
}
