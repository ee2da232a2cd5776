//! Where spans go, as the variables of OpenTelemetry say. Read by `otlp` at the start.
//! SECURITY: header fields for the collector are secrets: they are marked sensitive, no error
//! shows them, and they leave this machine under TLS only.

use crate::{
    model::{
        refusal::{Code, Refusal},
        upstream::{Upstream, UpstreamError},
    },
    sys::env::Env,
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, uri::PathAndQuery};
use percent_encoding::percent_decode_str;

const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";

/// A collector of spans.
#[derive(Debug)]
pub struct Collector {
    /// Its host.
    pub host: Upstream,
    /// Where it takes spans.
    pub path: PathAndQuery,
    /// What it wants to see beside them.
    pub headers: HeaderMap,
    /// What we are called there.
    pub service: String,
}

impl Collector {
    /// The collector that the environment names, if any.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it cannot be used as it is named.
    pub fn of(env: &Env) -> Result<Option<Self>, Refusal> {
        if env.get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        // The one for traces is taken as it is; the one for everything is a base.
        let (name, url) = match (env.get(TRACES), env.get(BASE)) {
            (Some(url), _) => (TRACES, url.to_owned()),
            (None, Some(base)) => (BASE, format!("{}/v1/traces", base.trim_end_matches('/'))),
            (None, None) => return Ok(None),
        };
        let (host, path) = place(&url).ok_or_else(|| {
            wrong(name, "must be a URL such as `https://host:port`, without user or query")
                .hint(format!("name a collector: {BASE}=http://127.0.0.1:4318"))
        })?;
        let headers = headers(env)?;
        let plain = bare(&host).parse::<Upstream>() == Err(UpstreamError::PlainHttp);
        if plain && !headers.is_empty() {
            return Err(wrong(name, "is plain http to another machine, and there are header fields to send")
                .hint(format!("use https, or a collector on this machine, or run: unset {HEADERS} {TRACES_HEADERS}")));
        }
        let service = env.get("OTEL_SERVICE_NAME").unwrap_or(env!("CARGO_PKG_NAME")).to_owned();
        Ok(Some(Self { host, path, headers, service }))
    }
}

fn place(url: &str) -> Option<(Upstream, PathAndQuery)> {
    let parts = url.parse::<Uri>().ok()?.into_parts();
    let (scheme, authority, path) = (parts.scheme?, parts.authority?, parts.path_and_query?);
    let host = Upstream { scheme, authority };
    let known = bare(&host).parse::<Upstream>() != Err(UpstreamError::NotABase);
    (known && path.query().is_none()).then_some((host, path))
}

fn bare(host: &Upstream) -> String {
    format!("{}://{}", host.scheme, host.authority)
}

/// `name=value,name=value`, values percent-encoded.
fn headers(env: &Env) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    let Some((variable, text)) =
        [TRACES_HEADERS, HEADERS].into_iter().find_map(|name| Some((name, env.get(name)?)))
    else {
        return Ok(headers);
    };
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let field = pair.split_once('=').and_then(|(name, value)| {
            let value: Vec<u8> = percent_decode_str(value.trim()).collect();
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(&value).ok()?))
        });
        let Some((name, mut value)) = field else {
            return Err(wrong(variable, "is not a list such as `name=value,name=value`")
                .hint("percent-encode what stands in a value beside letters and digits"));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn wrong(name: &str, what: &str) -> Refusal {
    Refusal::new(Code::ConfigError, format!("`{name}` {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Option<Collector>, Refusal> {
        let pairs = pairs.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Collector::of(&Env::new(pairs, "/"))
    }

    #[test]
    fn the_variables_are_read_as_other_programs_read_them() {
        assert!(of(&[]).unwrap().is_none());
        assert!(of(&[(BASE, "http://h:4318"), ("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
        let found = of(&[(BASE, "https://c.example/otlp/"), (HEADERS, "a = x%20y , b=%3D=")]);
        let found = found.unwrap().unwrap();
        assert_eq!(
            (found.host.authority.as_str(), found.path.as_str()),
            ("c.example", "/otlp/v1/traces")
        );
        assert_eq!(found.service, "mp-proxy");
        assert_eq!(found.headers["a"], "x y");
        assert_eq!(found.headers["b"], "==");
        assert!(!format!("{found:?}").contains("x y"));
        let both = [
            (BASE, "http://h"),
            (TRACES, "http://h:1/mine"),
            (HEADERS, "a=1"),
            (TRACES_HEADERS, ""),
        ];
        assert_eq!(of(&both[..2]).unwrap().unwrap().path.as_str(), "/mine");
        for (pairs, part) in [
            (vec![(BASE, "collector:4318")], BASE),
            (vec![(BASE, "ftp://h")], "must be a URL"),
            (vec![(BASE, "http://u:s3cr3t@h")], "must be a URL"),
            (vec![(TRACES, "http://h/x?key=s3cr3t")], TRACES),
            (vec![(BASE, "https://h"), (HEADERS, "s3cr3t")], HEADERS),
            (vec![(BASE, "http://h:4318"), (HEADERS, "key=s3cr3t")], "plain http"),
        ] {
            let refusal = of(&pairs).unwrap_err();
            assert!(refusal.message.contains(part), "{refusal:?}");
            assert!(!format!("{refusal:?}").contains("s3cr3t"), "{refusal:?}");
        }
        for fine in ["http://127.0.0.1:4318", "http://localhost:4318", "https://h"] {
            assert!(of(&[(BASE, fine), (HEADERS, "key=s3cr3t")]).is_ok(), "{fine}");
        }
    }
}
