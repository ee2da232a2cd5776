//! The real reference client, from its package, through the proxy and on our files.

use crate::support::{CONFIG, Home, Upstream};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A virtual environment with the pinned client; made once and kept in the target folder.
pub fn environment() -> PathBuf {
    virtual_environment("reference")
}

/// A virtual environment with what `tests/NAME/requirements.txt` pins.
pub fn virtual_environment(name: &str) -> PathBuf {
    // Tests are processes of their own: the first one that needs it makes it.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = fs::File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let pins = format!("{}/tests/{name}/requirements.txt", env!("CARGO_MANIFEST_DIR"));
    let venv = folder.join(name);
    let done = venv.join("installed.txt");
    let wanted = fs::read_to_string(&pins).unwrap();
    if fs::read_to_string(&done).is_ok_and(|text| text == wanted) {
        return venv;
    }
    let _ = fs::remove_dir_all(&venv);
    assert!(Command::new("python3").args(["-m", "venv"]).arg(&venv).status().unwrap().success());
    let install = Command::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "-r", &pins])
        .status()
        .unwrap();
    assert!(install.success(), "the packages of `{pins}` could not be installed");
    fs::write(done, wanted).unwrap();
    venv
}

fn succeeded(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn the_reference_client_runs_through_the_proxy() {
    let venv = environment();
    let home = Home::new(CONFIG);
    let upstream = Upstream::start();
    let proxy = home.serve(&upstream.url(), &[]);
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(venv.join("bin").join(program))
            .args(args)
            .env_clear()
            .env("HOME", home.dir.path())
            .env("MP_API_BASE_URL", format!("http://{}", proxy.address))
            .env("NO_COLOR", "1")
            .current_dir(home.dir.path())
            .output()
            .unwrap();
        succeeded(&output)
    };
    assert!(run("mp", &["account", "test"]).contains("demo@example.com"));
    assert!(run("mp", &["inspect", "events"]).contains("Signup"));
    let query =
        ["query", "segmentation", "-e", "Login", "--from", "2026-01-01", "--to", "2026-01-02"];
    assert!(run("mp", &query).contains("\"total\": 7"));
    let export = "import mixpanel_headless as mp\n\
                  rows = mp.Workspace().stream_events(from_date='2026-01-01', to_date='2026-01-02')\n\
                  print(len(list(rows)))";
    assert_eq!(run("python", &["-c", export]).trim(), "5");
    // Every request arrived signed by us for the config's account.
    for received in upstream.received() {
        let signed = crate::support::header(&received, "authorization");
        assert_eq!(signed, Some("Basic c2E6aHVudGVyMi1zZWNyZXQ="), "{}", received.target);
    }
    assert!(upstream.received().len() >= 4);
}
