//! Every command of README and `docs/` runs: in a throw-away home, against the stand-in.
//! `curl` is the real one with `--fail-with-body`, port 8787 is a free one; all else stands as
//! it is printed. A page starts with the accounts of `support::CONFIG` and a proxy in front of
//! the stand-in, unless it says `<!-- starts with: nothing -->`.

use crate::{
    docs_blocks::{blocks, script, tool},
    reference,
    support::{CONFIG, Home, Upstream},
};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Whether blocks of a language are left out. In CI, where `.ci/run` installs them, none are.
fn missing(language: &str) -> bool {
    let missing = tool(language).is_some_and(|tool| find(tool).is_none());
    assert!(!(missing && std::env::var_os("CI").is_some()), "`{language}` is not installed");
    missing
}

fn shims(home: &Home) -> PathBuf {
    let bin = home.path("bin");
    fs::create_dir_all(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_mp-proxy"), bin.join("mp-proxy")).unwrap();
    let curl = find("curl").expect("curl is installed");
    let shim = format!(
        "#!/bin/sh\nexec {} --fail-with-body --silent --show-error \"$@\"\n",
        curl.display()
    );
    fs::write(bin.join("curl"), shim).unwrap();
    fs::set_permissions(bin.join("curl"), fs::Permissions::from_mode(0o755)).unwrap();
    bin
}

/// Runs a page; gives the number of blocks that ran.
fn run(page: &str, least: usize) {
    let text = fs::read_to_string(Path::new(ROOT).join(page)).unwrap();
    let nothing = text.contains("<!-- starts with: nothing -->");
    let home = Home::new(if nothing { "" } else { CONFIG });
    if nothing {
        fs::remove_dir_all(home.path(".mp")).unwrap();
    }
    let upstream = Upstream::start();
    let (port, serving) = if nothing {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        (port, None)
    } else {
        let serving = home.serve(&upstream.url(), &[]);
        (serving.address.port(), Some(serving))
    };
    let text = text.replace("8787", &port.to_string());
    let (script, count) = script(&blocks(&text), home.dir.path(), &missing);
    assert!(count >= least, "{page}: only {count} blocks ran");
    let venv = reference::virtual_environment("docs");
    let path = format!(
        "{}:{}:{}",
        shims(&home).display(),
        venv.join("bin").display(),
        std::env::var("PATH").unwrap()
    );
    let log = home.path("script.log");
    let out = fs::File::create(&log).unwrap();
    let status = Command::new("timeout")
        .args(["120", "bash", "-c", &script])
        .env_clear()
        .env("HOME", home.dir.path())
        .env("PATH", path)
        .env("MP_PROXY_UPSTREAM", upstream.url())
        .env("MP_PROXY_LISTEN", format!("127.0.0.1:{port}"))
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go"))
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    drop(serving);
    assert!(status.success(), "{page}: {status}\n{}", fs::read_to_string(log).unwrap());
}

/// One test a page, so that they run side by side; the last test finds a page without one.
macro_rules! pages {
    ($($name:ident $page:literal at least $least:literal),* $(,)?) => {
        $(#[test] fn $name() { run($page, $least); })*
        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    accounts "docs/accounts.md" at least 8,
    bridge "docs/bridge.md" at least 4,
    readme "README.md" at least 3,
    recipes "docs/recipes.md" at least 8,
    sidecar "docs/sidecar.md" at least 1,
    switching "docs/switching.md" at least 4,
    troubleshooting "docs/troubleshooting.md" at least 1,
    watching "docs/watching.md" at least 3,
}

#[test]
fn every_page_with_commands_is_run() {
    for entry in fs::read_dir(Path::new(ROOT).join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let page = format!("docs/{}", path.file_name().unwrap().to_str().unwrap());
        if path.extension().is_some_and(|end| end == "md") && !PAGES.contains(&page.as_str()) {
            let found = blocks(&fs::read_to_string(&path).unwrap());
            let runs = found.iter().find(|block| block.language == "sh");
            assert!(runs.is_none(), "{page} is not in the list: its commands are not run");
        }
    }
}
