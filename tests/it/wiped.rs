//! What is left of a secret in the memory of the process that served with it: the real program,
//! looked at through `/proc/PID/mem`. Only root may look; for others the kernel keeps it closed.

use crate::support::{CONFIG, Home, Serving, Upstream, not_tested};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
};

/// Secrets of one generation, long enough to be found by their ends: the allocator writes over
/// the beginning of what is given back to it.
fn secret(kind: &str, generation: &str) -> String {
    format!("{kind}-{generation}-Xq7GmT2vLr9KpZ4sWb8NcY1dHf6JtRe3-{kind}-{generation}-end")
}

fn config(generation: &str) -> String {
    CONFIG
        .replace("hunter2-secret", &secret("password", generation))
        .replace("tok-secret", &secret("bearer", generation))
        .replace("internal-1", &secret("header", generation))
}

fn tokens(generation: &str) -> String {
    format!(
        r#"{{"access_token":"{}","expires_at":"2999-01-01T00:00:00Z","scope":"s","token_type":"Bearer","refresh_token":"{}"}}"#,
        secret("access", generation),
        secret("refresh", generation)
    )
}

fn bridge(generation: &str) -> String {
    format!(
        r#"{{"version":2,"account":{{"type":"oauth_browser","name":"me","region":"in"}},"tokens":{}}}"#,
        tokens(&format!("bridged-{generation}"))
    )
}

fn callers(generation: &str) -> String {
    let of = |kind: &str| format!("token = \"{}\"\n", secret(kind, generation));
    format!("[callers.a]\n{}[callers.idle]\n{}", of("caller"), of("idle"))
}

fn write(home: &Home, generation: &str) {
    home.write(".mp/config.toml", &config(generation));
    home.write(".mp/accounts/me/tokens.json", &tokens(generation));
    home.write(".claude/mixpanel/auth.json", &bridge(generation));
    home.write("callers", &callers(generation));
}

/// A request as each account, each several times.
fn use_all(proxy: &Serving, generation: &str) {
    for account in ["team", "ci", "me"] {
        for _ in 0..5 {
            let lines = format!(
                "X-Mp-Proxy-Token: {}\r\nX-Mp-Account: {account}\r\n",
                secret("caller", generation)
            );
            let answer = proxy.get("/api/query/events/names", &lines);
            assert_eq!(answer.status, 200, "{account}: {}", answer.head);
        }
    }
}

fn count(memory: &[u8], text: &[u8]) -> usize {
    memory.windows(text.len()).filter(|window| *window == text).count()
}

#[test]
fn a_replaced_secret_does_not_stay_in_memory() {
    let home = Home::new("");
    write(&home, "old");
    let upstream = Upstream::start();
    let args = ["--client-token-file", "callers", "--threads", "1"];
    let proxy = home.serve(&upstream.url(), &args);
    use_all(&proxy, "old");
    write(&home, "new");
    use_all(&proxy, "new");
    let Some(memory) = memory_of(proxy.child.id()) else { return };
    let left = |kind: &str, generation: &str| {
        let end = format!("Re3-{kind}-{generation}-end");
        (end.clone(), count(&memory, end.as_bytes()))
    };
    assert!(left("bearer", "new").1 > 0, "not even what is in use was found");
    let read = [
        left("password", "old"),
        left("refresh", "old"),
        left("refresh", "bridged-old"),
        left("access", "old"),
        left("idle", "old"),
    ];
    assert!(read.iter().all(|(_, count)| *count == 0), "what was read stays: {read:?}");
    // What was sent may still stand in a buffer of its connection, until another request does.
    let pair = STANDARD.encode(format!("sa:{}", secret("password", "old")));
    let sent = [
        left("bearer", "old"),
        left("access", "bridged-old"),
        left("header", "old"),
        ("the pair of Basic".to_owned(), count(&memory, &pair.as_bytes()[20..pair.len() - 4])),
    ];
    assert!(sent.iter().all(|(_, count)| *count <= 1), "what was sent stays: {sent:?}");
}

/// What was read from a file and is not needed as it stood there is wiped: the memory of the
/// process, which root can read, does not hold it any more.
#[test]
fn tokens_and_keys_do_not_stay_in_memory_as_they_were_read() {
    let home = Home::new(CONFIG);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    home.write("cert.pem", &made.cert.pem());
    home.write("key.pem", &key);
    let token = "wiped-Xq7GmT2vLr9KpZ4sWb8NcY1d";
    home.write("token", token);
    let upstream = Upstream::start();
    let args = ["--client-token-file", "token", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let proxy = home.serve(&upstream.url(), &args);
    let Some(memory) = memory_of(proxy.child.id()) else { return };
    let holds = |text: &str| memory.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(
        holds(home.path("cert.pem").file_name().unwrap().to_str().unwrap()),
        "nothing was read"
    );
    assert!(!holds(token), "the token stays");
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!holds(&line[..line.len().min(24)]), "a line of the key stays");
    }
}

/// All that the process may write to.
fn memory_of(pid: u32) -> Option<Vec<u8>> {
    let Ok(file) = fs::File::open(format!("/proc/{pid}/mem")) else {
        assert_ne!(fs::metadata("/proc/self").unwrap().uid(), 0);
        not_tested("what stays in the memory: only root may look into it");
        return None;
    };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = (address(start), address(end));
        let mut piece = vec![0; 1 << 16];
        let mut at = start;
        while at < end {
            let count = usize::try_from((end - at).min(1 << 16)).unwrap();
            if file.read_exact_at(&mut piece[..count], at).is_ok() {
                all.extend_from_slice(&piece[..count]);
            }
            at += count as u64;
        }
    }
    Some(all)
}
