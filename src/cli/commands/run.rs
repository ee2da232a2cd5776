//! `mp-proxy run -- COMMAND`: a private proxy for one program. The program gets a URL and a
//! token, and none of the secrets behind them.
//! Invariant: the proxy ends with the program, and our exit code is the program's.

use super::serve;
use crate::{
    cli::{
        args::Run,
        error::{Form, report},
    },
    model::refusal::Refusal,
    proxy::{listen::Listen, server::Server},
    sys::{
        env::{self, Env},
        hardening,
    },
};
use oauth2::CsrfToken;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitCode, ExitStatus},
    sync::Arc,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

/// Runs the command.
#[must_use]
pub fn run(args: Run, env: Arc<Env>) -> ExitCode {
    serve::start_log(&args.serve.log, &env);
    match start(args, &env) {
        Ok(code) => code,
        Err(refusal) => report(&refusal, Form::Text),
    }
}

fn start(args: Run, env: &Arc<Env>) -> Result<ExitCode, Refusal> {
    let token = CsrfToken::new_random_len(24);
    let private = Arc::new(env.with(env::MP_PROXY_CLIENT_TOKEN, token.secret()));
    // Private: its own port and its own token, whatever is set for a shared one.
    let listen = Listen::on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let most = args.serve.limits.max_open_files;
    let options = serve::options(args.serve, listen, hardening::allowed(most), &private)?;
    let mut command = args.command.into_iter();
    let program = command.next().ok_or_else(|| Refusal::config("there is no command to run"))?;
    let mut child = Command::new(&program);
    child.args(command);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::config(format!("cannot start the runtime: {error}")))?;
    let code = runtime.block_on(async {
        let server = Server::bind(options, private).map_err(|error| serve::cannot_start(&error))?;
        let address = server.address().ok_or_else(|| Refusal::config("there is no address"))?;
        prepare(&mut child, &server, address, env, token.secret());
        let mut signals = Signals::listen()?;
        let child = match child.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(not_started(&program.to_string_lossy(), &error)),
        };
        // Only now: umask and limits are ours, and the program keeps its own.
        hardening::settle(most);
        let (end, ended) = oneshot::channel::<()>();
        let serving = server.run(async {
            let _ = ended.await;
        });
        let following = async {
            let status = signals.follow(child).await;
            let _ = end.send(());
            status
        };
        let (served, status) = tokio::join!(serving, following);
        served.map_err(|error| serve::cannot_start(&error))?;
        Ok(exit_code(status?))
    });
    runtime.shutdown_background();
    code
}

/// What the program gets to know: where the proxy is and how to be let in.
fn prepare(child: &mut Command, server: &Server, address: SocketAddr, env: &Env, token: &str) {
    // SECURITY: the program talks to Mixpanel through us; it needs none of these.
    let snapshot = server.proxy().snapshot();
    let of_accounts = snapshot.config.iter().flat_map(|config| config.token_variables());
    for name in SECRETS.into_iter().map(str::to_owned).chain(of_accounts) {
        child.env_remove(name);
    }
    let has = |names: &[&str]| names.iter().all(|name| env.get(name).is_some());
    let account = [env::MP_PROJECT_ID, env::MP_REGION];
    if has(&account) && (has(&[env::MP_USERNAME, env::MP_SECRET]) || has(&[env::MP_OAUTH_TOKEN])) {
        // `mp` asks for some credential of its own before it sends anything; we replace it.
        child.env(env::MP_OAUTH_TOKEN, "replaced-by-mp-proxy");
    }
    child.env("MP_API_BASE_URL", format!("http://mp-proxy:{token}@{address}"));
    child.env("MP_PROXY_URL", format!("http://{address}"));
    child.env(env::MP_PROXY_TOKEN, token);
    // A company's proxy cannot reach this machine's loopback.
    for name in ["NO_PROXY", "no_proxy"] {
        let others = env.get(name).map(|hosts| format!("{hosts},")).unwrap_or_default();
        child.env(name, format!("{others}127.0.0.1"));
    }
}

/// Variables that are ours alone.
const SECRETS: [&str; 15] = [
    env::MP_USERNAME,
    env::MP_SECRET,
    env::MP_OAUTH_TOKEN,
    env::MP_CUSTOM_HEADER_NAME,
    env::MP_CUSTOM_HEADER_VALUE,
    env::MP_PROXY_CLIENT_TOKEN,
    "MP_PROXY_CLIENT_TOKEN_FILE",
    // Would lead the App API past us.
    "MP_APP_BASE_URL",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_FDS_FIRST_FD",
];

/// The signals that go on to the program, and the one that tells of its end.
struct Signals {
    arrived: mpsc::Receiver<Signal>,
}

impl Signals {
    fn listen() -> Result<Self, Refusal> {
        let (sender, arrived) = mpsc::channel(16);
        for kind in [
            Signal::CHILD,
            Signal::INT,
            Signal::TERM,
            Signal::HUP,
            Signal::QUIT,
            Signal::USR1,
            Signal::USR2,
        ] {
            let mut stream = signal(SignalKind::from_raw(kind.as_raw()))
                .map_err(|error| Refusal::config(format!("cannot listen for signals: {error}")))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() && sender.send(kind).await.is_ok() {}
            });
        }
        Ok(Self { arrived })
    }

    /// Passes signals on until the program ends.
    async fn follow(&mut self, mut child: Child) -> Result<ExitStatus, Refusal> {
        let pid = Pid::from_child(&child);
        loop {
            let ended = child.try_wait().map_err(|error| {
                Refusal::config(format!("cannot wait for the command: {error}"))
            })?;
            if let Some(status) = ended {
                return Ok(status);
            }
            match self.arrived.recv().await {
                None | Some(Signal::CHILD) => {}
                // The terminal has sent it to the program as well.
                Some(Signal::INT | Signal::QUIT) if in_foreground() => {}
                Some(signal) => {
                    let _ = kill_process(pid, signal);
                }
            }
        }
    }
}

/// Whether keys such as Ctrl-C reach our whole process group.
fn in_foreground() -> bool {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let (group, terminal) = (fields.nth(2), fields.nth(2));
    group.is_some() && group == terminal
}

/// As shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn not_started(program: &str, error: &std::io::Error) -> ExitCode {
    let refusal = Refusal::config(format!("cannot run `{program}`: {error}"));
    let _ = report(&refusal.hint("mp-proxy run -- COMMAND [ARGUMENTS]"), Form::Text);
    ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
}
