//! Bad input for every verb that writes: a clear error that names the repair, the right exit code,
//! and a home that is the same afterwards, byte for byte, with nothing left over.

use crate::{
    accounts::{COMMENTED, piped},
    support::{Home, Upstream, not_tested},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Every verb that writes the config, as it succeeds on [`COMMENTED`]. `login` asks `/me` first.
const WRITERS: [&[&str]; 14] = [
    &["account", "add", "n", "--type", "oauth_browser"],
    &["account", "update", "team", "--project", "5"],
    &["account", "remove", "me"],
    &["account", "use", "ci"],
    &["session", "use", "-a", "ci", "-p", "5", "-w", "6"],
    &["session", "use", "-w", "6"],
    &["session", "use", "-t", "shop"],
    &["target", "add", "t2", "-a", "ci", "-p", "4"],
    &["target", "remove", "shop", "--yes"],
    &["target", "use", "shop"],
    &["project", "use", "5"],
    &["workspace", "use", "6"],
    &["login", "--token-env", "T", "--region", "us", "--project", "1001", "--name", "n"],
    &["login", "--token-env", "T", "--region", "us", "--project", "1001", "--name", "ci"],
];

/// Those that write other files.
const OTHERS: [&[&str]; 4] = [
    &["account", "export-bridge", "--account", "ci", "--to", ".mp/b.json"],
    &["account", "remove-bridge", "--at", ".mp/old.json"],
    &["account", "logout", "me"],
    &["account", "remove", "me", "--purge"],
];

const TOKENS: &str = r#"{"access_token":"a","expires_at":"2999-01-01T00:00:00+00:00","scope":"s","token_type":"Bearer"}"#;

fn machine(upstream: &Upstream, config: &str) -> Home {
    Home::new(config).with("MP_PROXY_UPSTREAM", &upstream.url()).with("T", "t0ken")
}

/// Path, mode and content of everything below a folder; of the lock that a writer leaves, nothing.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let content = match about.file_type() {
                kind if kind.is_dir() => {
                    folders.push(path.clone());
                    Vec::new()
                }
                kind if kind.is_symlink() => {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                }
                kind if kind.is_file() => fs::read(&path).unwrap(),
                _ => Vec::new(),
            };
            let lock = path.extension().is_some_and(|extension| extension == "lock");
            if !lock {
                all.insert(path, (about.mode(), content));
            }
        }
    }
    all
}

/// The error of a run that had to fail; checks what holds for every one.
fn error(args: &[&str], output: &Output) -> (i32, Value) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        !output.status.success(),
        "{args:?} did it: {}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(output.stdout.is_empty(), "{args:?}");
    for secret in ["s3cr3t", "hunter2", "t0ken"] {
        assert!(!said.contains(secret), "{args:?}: {said}");
    }
    // The one line on stderr, so that a program can read it.
    let document: Value =
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{args:?}: {said}"));
    let error = document["error"].clone();
    assert!(
        error["hint"].as_str().is_some_and(|hint| hint.len() > 8),
        "{args:?} leaves one alone: {error}"
    );
    (output.status.code().unwrap(), error)
}

fn refused(home: &Home, args: &[&str]) -> (i32, Value) {
    let before = tree(home.dir.path());
    let output = piped(home, &[args, &["--json"]].concat(), "s3cr3t\n");
    let error = error(args, &output);
    assert!(before == tree(home.dir.path()), "{args:?} changed something: {}", error.1);
    error
}

#[test]
fn every_writer_succeeds_on_a_good_file() {
    let upstream = Upstream::start();
    for verb in WRITERS.iter().chain(&OTHERS) {
        let home = machine(&upstream, COMMENTED);
        home.write(".mp/old.json", "{}");
        home.write(".mp/accounts/me/tokens.json", TOKENS);
        let before = tree(home.dir.path());
        let output = piped(&home, verb, "");
        assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(before != tree(home.dir.path()), "{verb:?} is no writer");
    }
}

#[test]
fn no_writer_touches_a_file_that_is_malformed() {
    let upstream = Upstream::start();
    let account = |line: &str| {
        format!("{COMMENTED}\n[accounts.bad]\ntype = \"oauth_token\"\nregion = \"us\"\n{line}\n")
    };
    let line = COMMENTED.lines().count() + 5;
    let broken: Vec<(String, String)> = vec![
        (format!("{COMMENTED}[targets\n"), format!(":{}:9`", line - 4)),
        (format!("{COMMENTED}a = 1\na = 2\n"), format!(":{}:1`", line - 3)),
        (format!("{COMMENTED}a = \"\\q\"\n"), format!(":{}:7`", line - 4)),
        (format!("{COMMENTED}[active]\n"), format!(":{}:", line - 4)),
        (account("token = \"t\"\nunknown = 1"), format!(":{}`", line + 1)),
        (account("token = \"t\"\ntoken_env = \"T\""), "bad".into()),
        (account("token = 3"), format!(":{line}`")),
        (account("token = \"t\"\nusername = \"u\""), format!(":{}`", line + 1)),
        (account(""), "bad".into()),
        ("accounts = 3\n".into(), ":1`".into()),
        ("accounts.team = 3\n".into(), ":1`".into()),
    ];
    for (text, place) in &broken {
        let home = machine(&upstream, text);
        for verb in WRITERS {
            let (exit, error) = refused(&home, verb);
            assert_eq!(error["code"], "CONFIG_ERROR", "{verb:?}: {error}");
            // Of a file without a good block, that what was to change is not there is true too.
            let missing = ["ACCOUNT_NOT_FOUND", "TARGET_NOT_FOUND", "NO_ACTIVE_ACCOUNT"];
            let gone = text.len() < 40
                && error["reason"].as_str().is_some_and(|reason| missing.contains(&reason));
            assert_eq!(
                exit,
                if error["reason"] == missing[2] { 4 } else { 1 },
                "{verb:?}: {error}"
            );
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(place) || gone, "{verb:?}, {place}: {error}");
        }
    }
    let home = machine(&upstream, "");
    let config = home.path(".mp/config.toml");
    for bytes in
        [b"a = \"\xff\"\n".to_vec(), vec![b'#'; (1 << 20) + 1], b"\xef\xbb\xbf[active]\n".to_vec()]
    {
        fs::write(&config, bytes).unwrap();
        for verb in WRITERS {
            let (exit, error) = refused(&home, verb);
            assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{verb:?}: {error}");
            assert!(error["message"].as_str().unwrap().contains("config.toml"), "{error}");
        }
    }
}

#[test]
fn no_writer_touches_a_file_that_is_not_safe() {
    let upstream = Upstream::start();
    let home = machine(&upstream, COMMENTED);
    let config = home.path(".mp/config.toml");
    let all = |home: &Home, said: &str| {
        for verb in WRITERS {
            let (exit, error) = refused(home, verb);
            assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{verb:?}: {error}");
            assert!(error.to_string().contains(said), "{verb:?}, {said}: {error}");
        }
    };
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
        fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
        all(&home, "chmod 600");
    }
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
    // A link in the file's place, dangling too; then at each step on the way to it.
    fs::rename(&config, home.path("real.toml")).unwrap();
    symlink("../real.toml", &config).unwrap();
    all(&home, "symbolic link");
    fs::remove_file(&config).unwrap();
    symlink("nowhere", &config).unwrap();
    all(&home, "symbolic link");
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    all(&home, "regular file");
    fs::remove_dir(&config).unwrap();
    let fifo = Command::new("mkfifo").args(["-m", "600"]).arg(&config).status().unwrap();
    assert!(fifo.success());
    all(&home, "regular file");
    fs::remove_file(&config).unwrap();
    fs::rename(home.path("real.toml"), &config).unwrap();
    fs::rename(home.path(".mp"), home.path("real")).unwrap();
    symlink("real", home.path(".mp")).unwrap();
    all(&home, "symbolic link");
    let home = machine(&upstream, COMMENTED).with("MP_CONFIG_PATH", "a/b/config.toml");
    home.write("real/b/config.toml", COMMENTED);
    symlink("real", home.path("a")).unwrap();
    all(&home, "symbolic link");
}

#[test]
fn a_link_in_the_lock_s_or_the_temporary_file_s_place_leads_nowhere() {
    let upstream = Upstream::start();
    for verb in WRITERS {
        let home = machine(&upstream, COMMENTED);
        home.write("victim", "precious");
        symlink("../victim", home.path(".mp/.config.toml.lock")).unwrap();
        let (exit, _) = refused(&home, verb);
        assert_eq!(exit, 1);
        fs::remove_file(home.path(".mp/.config.toml.lock")).unwrap();
        symlink("../victim", home.path(".mp/.config.toml.tmp")).unwrap();
        let output = piped(&home, verb, "");
        assert!(output.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read_to_string(home.path("victim")).unwrap(), "precious");
        assert!(!home.path(".mp/config.toml").is_symlink());
    }
}

fn in_place(home: &Home, program: &Path, args: &[&str], upstream: &str) -> Command {
    let mut command = Command::new(program);
    command.args(args).env_clear().env("HOME", home.dir.path()).current_dir(home.dir.path());
    command.env("T", "t0ken").env("MP_PROXY_UPSTREAM", upstream);
    command
}

fn fresh() -> Home {
    let home = Home::new(COMMENTED);
    home.write(".mp/old.json", "{}");
    home.write(".mp/accounts/me/tokens.json", TOKENS);
    fs::set_permissions(home.path(".mp"), fs::Permissions::from_mode(0o700)).unwrap();
    home
}

fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Mounts a small file system over `.mp`, where that is allowed.
struct Mounted(PathBuf);

impl Mounted {
    fn over(home: &Home, options: &str) -> Option<Self> {
        let place = home.path(".mp");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "mp-proxy-test"])
            .arg(&place)
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success()).then_some(Self(place))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_costs_nothing() {
    let upstream = Upstream::start();
    let url = upstream.url();
    // The kernel refuses the first byte of any file.
    let home = fresh();
    let limited = |args: &[&str]| {
        let mut command = in_place(
            &home,
            Path::new("bash"),
            &["-c", "ulimit -f 0; trap '' XFSZ; exec \"$@\"", "-"],
            &url,
        );
        command.arg(env!("CARGO_BIN_EXE_mp-proxy")).args(args);
        command
    };
    let before = tree(home.dir.path());
    let writers = || WRITERS.iter().chain(&OTHERS[..1]);
    for verb in writers() {
        let (exit, error) = error(verb, &run(limited(&[verb, &["--json"][..]].concat())));
        assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{verb:?}: {error}");
        assert!(before == tree(home.dir.path()), "{verb:?}: {error}");
    }
    // A real one, where mounting is allowed.
    let home = fresh();
    let Some(_disk) = Mounted::over(&home, "size=32k,mode=0700") else {
        return not_tested("a disk that is full: mounting is not allowed here");
    };
    home.write(".mp/config.toml", COMMENTED);
    let mut rest = 40 * 1024;
    while rest > 0 {
        // The last block may be cut.
        let _ = fs::write(home.path(&format!(".mp/filler{rest}")), vec![b'x'; 4096]);
        rest -= 4096;
    }
    let before = tree(home.dir.path());
    for verb in writers() {
        let args = [verb, &["--json"][..]].concat();
        let program = Path::new(env!("CARGO_BIN_EXE_mp-proxy"));
        let (exit, error) = error(verb, &run(in_place(&home, program, &args, &url)));
        assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{verb:?}: {error}");
        assert!(error.to_string().contains("space"), "{verb:?}: {error}");
        assert!(before == tree(home.dir.path()), "{verb:?}: {error}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_stays_as_it_is() {
    let upstream = Upstream::start();
    let url = upstream.url();
    let home = fresh();
    let program = home.path("mp-proxy");
    fs::copy(env!("CARGO_BIN_EXE_mp-proxy"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let close = |mode| {
        for folder in [".mp", ".mp/accounts", ".mp/accounts/me"] {
            fs::set_permissions(home.path(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    if is_root() {
        let owner = Command::new("chown").args(["-R", "65534:65534"]).arg(home.dir.path()).status();
        assert!(owner.unwrap().success());
    }
    close(0o500);
    let before = tree(home.dir.path());
    for verb in WRITERS.iter().chain(&OTHERS) {
        let mut command = in_place(&home, &program, &[verb, &["--json"][..]].concat(), &url);
        if is_root() {
            // Root may write anywhere: somebody else tries.
            command.uid(65534).gid(65534);
        }
        let (exit, error) = error(verb, &run(command));
        assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{verb:?}: {error}");
        assert!(error.to_string().contains("permission"), "{verb:?}: {error}");
        assert!(before == tree(home.dir.path()), "{verb:?}: {error}");
    }
    close(0o700);
    // A file system that is mounted read-only refuses root too.
    let home = fresh();
    let Some(disk) = Mounted::over(&home, "size=64k,mode=0700") else {
        return not_tested("a file system that is read-only: mounting is not allowed here");
    };
    home.write(".mp/config.toml", COMMENTED);
    home.write(".mp/old.json", "{}");
    home.write(".mp/accounts/me/tokens.json", TOKENS);
    let again = Command::new("mount").args(["-o", "remount,ro"]).arg(&disk.0).status().unwrap();
    assert!(again.success());
    let before = tree(home.dir.path());
    for verb in WRITERS.iter().chain(&OTHERS) {
        let args = [verb, &["--json"][..]].concat();
        let (exit, error) = error(
            verb,
            &run(in_place(&home, Path::new(env!("CARGO_BIN_EXE_mp-proxy")), &args, &url)),
        );
        assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{verb:?}: {error}");
        assert!(error.to_string().contains("read-only"), "{verb:?}: {error}");
        assert!(before == tree(home.dir.path()), "{verb:?}: {error}");
    }
}

#[test]
fn every_rule_of_names_and_numbers_holds_for_every_verb() {
    let upstream = Upstream::start();
    let home = machine(&upstream, COMMENTED);
    let long = "x".repeat(65);
    let names = ["", "a b", "\u{e9}", "a.b", "a/b", "../x", "x:y", &long];
    let projects = ["12a", "1.5", "\u{ff11}\u{ff12}", "1_000", " 1", "0x1", "1e3"];
    let workspaces = ["0", "-1", "x", "1.5", "99999999999999999999", "+7", "1_0", "\u{ff17}"];
    let regions = ["", "US", "mars", " us", "usa"];
    let add = ["--type", "oauth_token", "--region", "us", "--token-env", "T"];
    let login = ["login", "--token-env", "T"];
    // Each with a hole for the value.
    let hole = "?";
    let of_names: [Vec<&str>; 3] = [
        [&["account", "add", hole][..], &add].concat(),
        vec!["target", "add", hole, "-a", "ci", "-p", "1"],
        [&login[..], &["--name", hole]].concat(),
    ];
    let of_projects: [Vec<&str>; 7] = [
        [&["account", "add", "n", "--project", hole][..], &add].concat(),
        vec!["account", "update", "ci", "--project", hole],
        vec!["target", "add", "n", "-a", "ci", "-p", hole],
        vec!["project", "use", hole],
        vec!["session", "use", "-a", "ci", "-p", hole],
        vec!["account", "export-bridge", "--account", "ci", "--project", hole],
        [&login[..], &["--project", hole]].concat(),
    ];
    let of_workspaces: [Vec<&str>; 4] = [
        vec!["target", "add", "n", "-a", "ci", "-p", "1", "-w", hole],
        vec!["session", "use", "-a", "ci", "-w", hole],
        vec!["workspace", "use", hole],
        vec!["account", "export-bridge", "--account", "ci", "--workspace", hole],
    ];
    let of_regions: [Vec<&str>; 3] = [
        vec!["account", "add", "n", "--type", "oauth_browser", "--region", hole],
        vec!["account", "update", "ci", "--region", hole],
        [&login[..], &["--region", hole]].concat(),
    ];
    let table: [(&[Vec<&str>], &[&str]); 4] = [
        (&of_names, &names),
        (&of_projects, &projects),
        (&of_workspaces, &workspaces),
        (&of_regions, &regions),
    ];
    for (verbs, values) in table {
        for verb in verbs {
            for value in values {
                let args: Vec<&str> =
                    verb.iter().map(|&word| if word == hole { *value } else { word }).collect();
                let (exit, error) = refused(&home, &args);
                let wanted = match error["code"].as_str().unwrap() {
                    "CONFIG_ERROR" => 1,
                    "INVALID_ARGUMENT" => 3,
                    other => panic!("{args:?}: {other}"),
                };
                assert_eq!(exit, wanted, "{args:?}: {error}");
                // It is shown as it was given, control characters escaped.
                let shown = format!("{value:?}");
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(shown.trim_matches('"')), "{args:?}: {error}");
            }
        }
    }
}

#[test]
fn a_field_of_another_type_a_taken_name_and_what_is_not_there() {
    let upstream = Upstream::start();
    let home = machine(&upstream, COMMENTED);
    let fields: [(&[&str], &str); 4] = [
        (&["--username", "u"], "service_account"),
        (&["--secret-stdin"], "service_account"),
        (&["--token-env", "T"], "oauth_token"),
        (&["--token-stdin"], "oauth_token"),
    ];
    for (name, kind) in
        [("team", "service_account"), ("ci", "oauth_token"), ("me", "oauth_browser")]
    {
        for (field, owner) in fields {
            if owner == kind {
                continue;
            }
            let user: &[&str] = if kind == "service_account" { &["--username", "u"] } else { &[] };
            let add = [&["account", "add", "n", "--region", "us", "--type", kind][..], user, field]
                .concat();
            let (exit, error) = refused(&home, &add);
            assert_eq!((exit, &error["code"]), (3, &"INVALID_ARGUMENT".into()), "{add:?}: {error}");
            assert!(error["message"].as_str().unwrap().contains(field[0]), "{error}");
            let update = [&["account", "update", name][..], field].concat();
            let (exit, error) = refused(&home, &update);
            assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{update:?}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(owner) && message.contains(kind), "{error}");
        }
    }
    let token = ["--type", "oauth_token", "--region", "us", "--token-env", "T"];
    let cases: [(Vec<&str>, &str); 14] = [
        ([&["account", "add", "ci"][..], &token].concat(), "ACCOUNT_EXISTS"),
        (vec!["target", "add", "shop", "-a", "ci", "-p", "1"], ""),
        (vec!["target", "add", "n", "-a", "zz", "-p", "1"], "ACCOUNT_NOT_FOUND"),
        (vec!["account", "update", "zz", "--project", "1"], "ACCOUNT_NOT_FOUND"),
        (vec!["account", "use", "zz"], "ACCOUNT_NOT_FOUND"),
        (vec!["account", "remove", "zz"], "ACCOUNT_NOT_FOUND"),
        (vec!["account", "remove", "zz", "--force", "--purge"], "ACCOUNT_NOT_FOUND"),
        (vec!["account", "logout", "zz"], "ACCOUNT_NOT_FOUND"),
        (vec!["account", "login", "zz"], "ACCOUNT_NOT_FOUND"),
        (vec!["account", "export-bridge", "--account", "zz"], "ACCOUNT_NOT_FOUND"),
        (vec!["session", "use", "-a", "zz", "-w", "5"], "ACCOUNT_NOT_FOUND"),
        (vec!["session", "use", "-t", "zz"], "TARGET_NOT_FOUND"),
        (vec!["target", "use", "zz"], "TARGET_NOT_FOUND"),
        (vec!["target", "remove", "zz", "--yes"], "TARGET_NOT_FOUND"),
    ];
    for (args, reason) in cases {
        let (exit, error) = refused(&home, &args);
        assert_eq!((exit, &error["code"]), (1, &"CONFIG_ERROR".into()), "{args:?}: {error}");
        assert_eq!(error["reason"].as_str().unwrap_or_default(), reason, "{args:?}: {error}");
    }
}
