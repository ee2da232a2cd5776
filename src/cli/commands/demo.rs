//! `mp-proxy demo`: the real proxy in front of the stand-in, and three requests through it.

mod login;

use crate::{
    auth::resolve::Selection,
    cli::{
        args::Demo,
        commands::print,
        error::{Form, report},
        signals::first_signal,
    },
    demo::{home::DemoHome, stand_in::StandIn, switches::Bearers},
    model::{refusal::Refusal, upstream::Upstream},
    proxy::{
        forward::Timeouts,
        governance,
        limits::Limits,
        listen::Listen,
        rewrite::ClientAuthorization,
        server::{Options, Server},
        warm_up::WarmUp,
    },
    sys::env::Env,
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, pin::pin, process::ExitCode, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::oneshot};

/// Runs the command.
#[must_use]
pub fn demo(args: &Demo) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("start the runtime", &error))
        .and_then(|runtime| runtime.block_on(run(args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => report(&refusal, Form::Text),
    }
}

async fn run(args: &Demo) -> Result<(), Refusal> {
    let home = DemoHome::create().map_err(|error| failed("make the throw-away home", &error))?;
    let stand_in = StandIn::start().await.map_err(|error| failed("start the stand-in", &error))?;
    let env = Env::new([("HOME", home.path().to_string_lossy().into_owned())], home.path());
    let env = Arc::new(env);
    let upstream: Upstream = format!("http://{}", stand_in.addr())
        .parse()
        .map_err(|error| failed("address the stand-in", &error))?;
    let options = Options {
        listen: Listen::on(SocketAddr::from(([127, 0, 0, 1], 0))),
        upstream: Some(upstream.clone()),
        base: Selection::default(),
        client_authorization: ClientAuthorization::Replace,
        limits: Limits::default(),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            header: Duration::from_secs(60),
            idle: Duration::from_secs(60),
        },
        threads: None,
        warm_up: WarmUp::Never,
        governance: governance::Options::default(),
        log: None,
    };
    let server = Server::bind(options, Arc::clone(&env))
        .map_err(|error| failed("start the proxy", &error))?;
    let address = server.address().ok_or_else(|| Refusal::config("there is no address"))?;
    let stop = first_signal(|| ())?;
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async move {
        let _ = ended.await;
    }));
    print(&format!("mp-proxy demo on http://{address}, in front of a stand-in Mixpanel; no account, no network\n"))
        .map_err(|error| failed("write to stdout", &error))?;
    let mut stop = pin!(stop);
    let shown = if args.login {
        tokio::select! {
            walked = login::walk(args, &env, upstream, &stand_in) => match walked {
                Ok(text) => {
                    print(&text).map_err(|error| failed("write to stdout", &error))?;
                    let shown = show(address, &stand_in, &LOGGED_IN).await;
                    // The other account of the home has a token that was never granted.
                    stand_in.oauth().set(|switches| switches.bearers = Bearers::Any);
                    shown
                }
                Err(refusal) => Err(refusal),
            },
            () = &mut stop => return Ok(()),
        }
    } else {
        show(address, &stand_in, &SHOW).await
    };
    if shown.is_ok() && !args.once {
        let text = format!(
            "\nTry it (Ctrl-C ends it):\n  curl 'http://{address}/api/query/events/names'\n  \
             curl -H 'X-Mp-Target: europe' 'http://{address}/api/query/events/names'\n  \
             curl -N 'http://{address}/api/2.0/export?rows=20&pause_ms=200'\n  \
             curl 'http://{address}/_mp/session'\n\
             Watch it in a browser: http://{address}/_mp/\n"
        );
        print(&text).map_err(|error| failed("write to stdout", &error))?;
        stop.await;
    }
    let _ = end.send(());
    let _ = serving.await;
    stand_in.shutdown().await;
    shown
}

/// One request of the show: what is sent, and what must arrive.
struct Act {
    title: &'static str,
    path: &'static str,
    target: Option<&'static str>,
    scheme: &'static str,
    origin: &'static str,
    scope: &'static str,
    answer: &'static str,
}

/// After a login the account that it made is the active one.
const LOGGED_IN: [Act; 1] = [Act {
    title: "a query, as the account that just logged in",
    path: "/api/query/events/names",
    target: None,
    scheme: "Bearer",
    origin: "https://mixpanel.com",
    scope: "project_id=1001",
    answer: "Login",
}];

const SHOW: [Act; 3] = [
    Act {
        title: "a query, as the active account",
        path: "/api/query/events/names",
        target: None,
        scheme: "Basic",
        origin: "https://mixpanel.com",
        scope: "project_id=1001",
        answer: "Login",
    },
    Act {
        title: "the same query, switched by X-Mp-Target",
        path: "/api/query/events/names",
        target: Some("europe"),
        scheme: "Bearer",
        origin: "https://eu.mixpanel.com",
        scope: "project_id=2002&workspace_id=7",
        answer: "Login",
    },
    Act {
        title: "a streamed export",
        path: "/api/2.0/export?rows=1000",
        target: None,
        scheme: "Basic",
        origin: "https://data.mixpanel.com",
        scope: "project_id=1001",
        answer: "distinct_id",
    },
];

async fn show(address: SocketAddr, stand_in: &StandIn, acts: &[Act]) -> Result<(), Refusal> {
    for (number, act) in acts.iter().enumerate() {
        let (status, body) =
            fetch(address, act).await.map_err(|error| failed("send a request", &error))?;
        let received = stand_in.received();
        let arrived =
            received.last().ok_or_else(|| Refusal::config("nothing arrived at the stand-in"))?;
        let header = |name: &str| {
            let found = arrived.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name));
            found.map_or("", |(_, value)| value.as_str())
        };
        let scheme = header("authorization").split(' ').next().unwrap_or_default();
        let origin = header("x-mp-proxy-origin");
        let switch = act
            .target
            .map(|target| format!("\n             X-Mp-Target: {target}"))
            .unwrap_or_default();
        let text = format!(
            "\n{}. {}\n   sent:    GET {}{switch}\n   arrived: {} {}\n             for {origin}\n             Authorization: {scheme} …\n   answer:  {status}, {} bytes\n",
            number + 1,
            act.title,
            act.path,
            arrived.method,
            arrived.target,
            body.len(),
        );
        print(&text).map_err(|error| failed("write to stdout", &error))?;
        let right = status == 200
            && scheme == act.scheme
            && origin == act.origin
            && arrived.target.ends_with(act.scope)
            && body.windows(act.answer.len()).any(|window| window == act.answer.as_bytes());
        if !right {
            return Err(Refusal::config(format!(
                "request {} did not arrive as it should",
                number + 1
            ))
            .hint("this is a defect of mp-proxy: please report it with the lines above"));
        }
    }
    Ok(())
}

type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// A client that knows nothing of Mixpanel: a plain request on a plain socket.
async fn fetch(address: SocketAddr, act: &Act) -> Result<(u16, Bytes), FetchError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::get(act.path).header("host", address.to_string());
    if let Some(target) = act.target {
        request = request.header("x-mp-target", target);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Refusal {
    Refusal::config(format!("cannot {what}: {error}"))
        .hint("run: mp-proxy demo --once, and report what it prints")
}
