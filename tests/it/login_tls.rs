//! The whole login over real TLS, with a CA of its own: the consent page, every call of ours, and
//! what happens where the certificate is not to be trusted.

use crate::{
    login_support::{Login, Ports, get},
    support::{Home, header},
};
use http::{Request, Response, StatusCode};
use mp_proxy::{
    demo::{stand_in::StandInService, switches::Bearers},
    model::{
        origin::{Family, Origin},
        region::Region,
    },
    sys::{env::Env, http::HttpClient},
};
use oauth2::url::{Position, Url};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

const CONFIG: &str = "[accounts.me]\ntype = \"oauth_browser\"\nregion = \"us\"\n";
const EXPLICIT: [&str; 5] = ["account", "login", "me", "--no-browser", "--json"];

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The stand-in on any free port, with a certificate of this issuer for this name.
fn serve(
    runtime: &tokio::runtime::Runtime,
    service: &StandInService,
    issuer: &Issuer,
    name: &str,
) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = runtime.block_on(tokio::net::TcpListener::bind(any)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = service.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), service.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    service.serve_connection(stream).await;
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

/// A browser that trusts this CA: it opens the consent page over TLS, and goes where that leads.
fn consent(runtime: &tokio::runtime::Runtime, url: &Url, ca: &Path) -> Url {
    let base = &url[..Position::BeforePath];
    let vars = [("MP_PROXY_UPSTREAM", base), ("SSL_CERT_FILE", ca.to_str().unwrap())];
    let http = HttpClient::from_env(&Env::new(vars, "/")).unwrap();
    let ask = |request: Request<Vec<u8>>| -> Response<Vec<u8>> {
        runtime.block_on(async {
            let origin = Origin::new(Family::App, Region::Us);
            let answer = http.send(origin, request, Duration::from_secs(10)).await.unwrap();
            let mut response = Response::new(Vec::new());
            *response.status_mut() = answer.status();
            *response.headers_mut() = answer.headers().clone();
            *response.body_mut() = answer.bytes(1024 * 1024).await.unwrap();
            response
        })
    };
    let target = &url[Position::BeforePath..Position::AfterQuery];
    let page = ask(Request::get(target).body(Vec::new()).unwrap());
    assert_eq!(page.status(), StatusCode::OK);
    let page = String::from_utf8(page.into_body()).unwrap();
    let id = page.split("name=\"ask\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = format!("ask={id}&decision=allow").into_bytes();
    let answer = ask(Request::post("/oauth/authorize/decide/").body(form).unwrap());
    Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap()
}

struct Scene {
    runtime: tokio::runtime::Runtime,
    service: StandInService,
    home: Home,
    trusted: Issuer,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (service, home, trusted) =
            (StandInService::default(), Home::new(CONFIG), issuer("trusted"));
        service.oauth().set(|switches| switches.bearers = Bearers::Granted);
        home.write("ca.pem", &trusted.pem());
        home.write("other.pem", &issuer("other").pem());
        Self { runtime, service, home, trusted }
    }

    fn start(&self, url: &str, ca: &str, args: &[&str]) -> Login {
        let ca = self.home.path(ca);
        let mut command = self.home.command(args);
        command.env("SSL_CERT_FILE", ca);
        Login::start_with(command, url)
    }

    /// What a failed login leaves: nothing, but for a client that was registered before.
    fn untouched(&self) {
        assert!(!self.home.path(".mp/accounts").exists(), "something was written");
        assert_eq!(fs::read_to_string(self.home.path(".mp/config.toml")).unwrap(), CONFIG);
    }
}

#[test]
fn the_whole_login_and_a_renewal_go_over_tls() {
    let _ports = Ports::mine();
    let scene = Scene::new();
    let url = serve(&scene.runtime, &scene.service, &scene.trusted, "localhost");
    let login = scene.start(&url, "ca.pem", &EXPLICIT);
    assert!(login.url().as_str().starts_with(&url), "{}", login.url());
    let back = consent(&scene.runtime, login.url(), &scene.home.path("ca.pem"));
    let page = get(&back);
    assert_eq!(page.status, 200, "{}", page.head);
    let done = login.finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let result: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(result["user"]["email"], "demo@example.com");
    let counts = scene.service.oauth().counts();
    assert_eq!((counts.registrations, counts.exchanges), (1, 1));

    // The token runs out: renewed over TLS, used over TLS.
    let path = ".mp/accounts/me/tokens.json";
    let mut tokens: Value =
        serde_json::from_slice(&fs::read(scene.home.path(path)).unwrap()).unwrap();
    tokens["expires_at"] = json!("2026-01-01T00:00:00+00:00");
    let expired = tokens.to_string();
    let ca = scene.home.path("other.pem").display().to_string();
    scene.home.write(path, &expired);
    let home = scene.home.with("SSL_CERT_FILE", &ca);
    let refused = home.serve(&url, &["--account", "me"]).get("/api/query/x", "");
    let problem = refused.json();
    assert_eq!((refused.status, &problem["code"]), (502, &json!("OAUTH_REFRESH_ERROR")));
    assert!(problem["hint"].as_str().unwrap().contains("SSL_CERT_FILE"), "{problem}");
    assert_eq!(fs::read_to_string(home.path(path)).unwrap(), expired);
    assert_eq!(scene.service.oauth().counts().refreshes, 0);
    let ca = home.path("ca.pem").display().to_string();
    let home = home.with("SSL_CERT_FILE", &ca);
    let proxy = home.serve(&url, &["--account", "me"]);
    assert_eq!(proxy.get("/api/query/x", "").status, 200);
    assert_eq!(scene.service.oauth().counts().refreshes, 1);
    let last = scene.service.received().pop().unwrap();
    let renewed = fs::read_to_string(home.path(path)).unwrap();
    let sent = header(&last, "authorization").unwrap().strip_prefix("Bearer ").unwrap();
    assert!(renewed.contains(sent), "the token that was used is not the one on disk");
}

#[test]
fn no_login_begins_with_a_server_that_is_not_to_be_trusted() {
    let _ports = Ports::mine();
    let scene = Scene::new();
    let good = serve(&scene.runtime, &scene.service, &scene.trusted, "localhost");
    let named = serve(&scene.runtime, &scene.service, &scene.trusted, "elsewhere.example");
    for (url, ca, said, hint) in [
        (&good, "other.pem", "UnknownIssuer", "SSL_CERT_FILE"),
        (&named, "ca.pem", "not valid for name \"localhost\"", "MP_PROXY_UPSTREAM"),
        (&good, "nowhere.pem", "no root certificate", "SSL_CERT_FILE"),
    ] {
        let login = scene.start(url, ca, &EXPLICIT);
        assert!(login.url.is_none(), "{:?}", login.url);
        let done = login.finish();
        let error = done.error();
        assert_eq!(
            (done.code, error["code"].as_str()),
            (Some(2), Some("OAUTH_REGISTRATION_ERROR")),
            "{error}"
        );
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
        scene.untouched();
        assert!(!scene.home.path(".mp/oauth").exists(), "a client that nobody registered");
    }
    // A login without a browser: no region can be reached.
    let mut command = scene.home.command(&["login", "--json"]);
    command.env("SSL_CERT_FILE", scene.home.path("other.pem"));
    command.env("MP_USERNAME", "sa.x").env("MP_SECRET", "s3cr3t");
    let done = Login::start_with(command, &good).finish();
    assert_eq!(done.error()["code"], "OAUTH_NETWORK_UNREACHABLE", "{}", done.stderr);
    assert!(!done.stderr.contains("s3cr3t"));
    scene.untouched();
    assert!(scene.service.received().is_empty(), "something was sent to a server without trust");
}

#[test]
fn no_code_goes_to_a_server_that_is_no_longer_to_be_trusted() {
    let _ports = Ports::mine();
    let scene = Scene::new();
    let good = serve(&scene.runtime, &scene.service, &scene.trusted, "localhost");
    let named = serve(&scene.runtime, &scene.service, &scene.trusted, "elsewhere.example");
    // Registered while all was well; then somebody stands between us and the server.
    scene.start(&good, "ca.pem", &[&EXPLICIT[..], &["--timeout", "1"]].concat()).finish();
    assert!(scene.home.path(".mp/oauth/client_us.json").exists());
    for (url, ca, hint) in
        [(&good, "other.pem", "SSL_CERT_FILE"), (&named, "ca.pem", "MP_PROXY_UPSTREAM")]
    {
        let login = scene.start(url, ca, &EXPLICIT);
        // The browser trusts it, as a browser with a company's CA would.
        let mut asked = login.url().clone();
        asked.set_port(Url::parse(&good).unwrap().port()).unwrap();
        let back = consent(&scene.runtime, &asked, &scene.home.path("ca.pem"));
        let page = String::from_utf8(get(&back).body).unwrap();
        assert!(page.contains("OAUTH_TOKEN_ERROR") && page.contains(hint), "{page}");
        let done = login.finish();
        let error = done.error();
        assert_eq!((done.code, error["code"].as_str()), (Some(2), Some("OAUTH_TOKEN_ERROR")));
        assert!(error["message"].as_str().unwrap().contains("TLS"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains(hint), "{error}");
        scene.untouched();
    }
    assert_eq!(scene.service.oauth().counts().exchanges, 0);
}
