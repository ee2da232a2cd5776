//! The counters in the text format of Prometheus. Called by `endpoint` for `/_mp/metrics`.
//! Invariant: label values are bounded: routes, methods, classes and codes are closed sets,
//! accounts and projects are bounded by `labels`.

use super::{
    Observer, Totals,
    gauges::{Gauges, Readiness},
    labels::Pair,
    process::ProcessStats,
};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, prometheus_text,
    },
    metrics::MetricType,
    registry::Registry,
};
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Everything known, as text.
///
/// # Errors
/// Never in practice: writing to a string does not fail.
pub fn render(observer: &Observer, gauges: Gauges) -> Result<String, fmt::Error> {
    let scrape = Scrape {
        totals: observer.totals(),
        pairs: observer.labels.all(),
        gauges,
        process: ProcessStats::now(),
        up: observer.since.elapsed(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    totals: Totals,
    pairs: Vec<Pair>,
    gauges: Gauges,
    process: ProcessStats,
    up: Duration,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.requests(&mut out)?;
        self.connections(&mut out)?;
        self.state(&mut out)?;
        self.process(&mut out)
    }
}

impl Scrape {
    fn requests(&self, out: &mut Out<'_>) -> fmt::Result {
        let counts = &self.totals.counts;
        let requests = counts.requests.iter().map(|(key, count)| {
            let (account, project) = self.pair(key.who);
            let labels = [
                ("route", key.route),
                ("method", key.method),
                ("status", key.class),
                ("account", account),
                ("project", project),
            ];
            (labels, *count)
        });
        out.counter("mp_proxy_requests", "Finished requests", requests)?;
        let refusals = counts.refusals.iter().map(|(code, count)| ([("code", *code)], *count));
        out.counter("mp_proxy_refusals", "Requests that the proxy itself refused", refusals)?;
        let cut = [([("side", "down")], counts.cut)];
        out.counter("mp_proxy_answers_cut", "Answers that did not reach their end", cut)?;
        let bytes = counts.routes.iter().flat_map(|(route, counts)| {
            [
                ([("route", *route), ("direction", "up")], counts.up),
                ([("route", *route), ("direction", "down")], counts.down),
            ]
        });
        out.counter("mp_proxy_body_bytes", "Bytes of bodies, up to and down from Mixpanel", bytes)?;
        let flying = [([], self.totals.in_flight)];
        out.gauge("mp_proxy_requests_in_flight", "Requests under way", flying)?;
        let own = counts.routes.iter().map(|(route, counts)| (*route, &counts.own));
        out.histogram("mp_proxy_own_seconds", "What the proxy itself took", own)?;
        let upstream = counts.routes.iter().map(|(route, counts)| (*route, &counts.upstream));
        out.histogram(
            "mp_proxy_upstream_seconds",
            "From sending to the head of Mixpanel's answer",
            upstream.filter(|(_, histogram)| histogram.count() > 0),
        )
    }

    fn connections(&self, out: &mut Out<'_>) -> fmt::Result {
        let pool = &self.totals.pool;
        let kinds = [
            ([("kind", "opened")], pool.iter().map(|counts| counts.opened).sum::<u64>()),
            ([("kind", "reused")], pool.iter().map(|counts| counts.reused).sum()),
        ];
        out.counter("mp_proxy_upstream_connections", "Connections taken for a request", kinds)?;
        let idle: u64 = pool.iter().map(|counts| counts.idle as u64).sum();
        out.gauge("mp_proxy_upstream_connections_idle", "Connections kept", [([], idle)])?;
        let lost = [([("reason", "slow_reader")], self.totals.dropped_lines)];
        out.counter("mp_proxy_log_lines_dropped", "Log lines that nobody read in time", lost)
    }

    fn state(&self, out: &mut Out<'_>) -> fmt::Result {
        let gauges = &self.gauges;
        let generation = [([], gauges.generation)];
        out.gauge("mp_proxy_config_generation", "Grows with every change of files", generation)?;
        let ready = [([], u64::from(gauges.session == Readiness::Ready))];
        out.gauge("mp_proxy_ready", "Whether the base session resolves", ready)?;
        out.gauge(
            "mp_proxy_config_last_failure_timestamp_seconds",
            "When a change of the files was last found broken",
            gauges.last_failure.map(|at| ([], at)),
        )?;
        let expiry =
            gauges.token_expiry.iter().map(|(account, at)| ([("account", account.as_str())], *at));
        out.gauge("mp_proxy_token_expiry_timestamp_seconds", "When a login expires", expiry)?;
        let refreshes = gauges.refreshes.iter().map(|(outcome, n)| ([("outcome", *outcome)], *n));
        out.counter("mp_proxy_token_refreshes", "Token refreshes", refreshes)?;
        let left = |pick: fn(&super::gauges::Quota) -> u64| {
            gauges.quotas.iter().map(move |quota| {
                ([("project", quota.project.as_str()), ("api", quota.api)], pick(quota))
            })
        };
        out.gauge("mp_proxy_quota_left", "Calls left in this hour", left(|quota| quota.left))?;
        out.gauge("mp_proxy_quota_limit", "Calls an hour", left(|quota| quota.limit))?;
        let limits = gauges.limits.iter().map(|(name, value)| ([("limit", *name)], *value));
        out.gauge("mp_proxy_limit", "The limits in force", limits)?;
        let open = [([], gauges.connections)];
        out.gauge("mp_proxy_connections", "Connections of callers", open)?;
        let refused = gauges.refused.iter().map(|(why, count)| ([("reason", *why)], *count));
        out.counter("mp_proxy_connections_refused", "Connections without a request", refused)?;
        let policy = &gauges.policy;
        let generation = [([], policy.generation)];
        out.gauge("mp_proxy_policy_generation", "Grows with every change in force", generation)?;
        let stale = [([], u64::from(policy.stale))];
        out.gauge("mp_proxy_policy_stale", "Whether a changed policy is broken and unused", stale)?;
        let failures = [([("outcome", "broken")], policy.failures)];
        out.counter("mp_proxy_policy_reloads", "Changes of the policy that were broken", failures)?;
        let tls = gauges.tls.as_ref();
        let generation = tls.map(|tls| ([], tls.generation));
        out.gauge("mp_proxy_tls_generation", "Grows with every change in force", generation)?;
        let stale = tls.map(|tls| ([], u64::from(tls.stale)));
        out.gauge(
            "mp_proxy_tls_stale",
            "Whether a changed certificate is broken and unused",
            stale,
        )?;
        let failures = tls.map(|tls| ([("outcome", "broken")], tls.failures));
        out.counter(
            "mp_proxy_tls_reloads",
            "Changes of the certificate that were broken",
            failures,
        )?;
        let lost = gauges.audit_lost.map(|lost| ([("reason", "unwritable")], lost));
        out.counter("mp_proxy_audit_lines_lost", "Lines of the audit trail that were lost", lost)
    }

    fn process(&self, out: &mut Out<'_>) -> fmt::Result {
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1_u64)];
        out.gauge("mp_proxy_build_info", "The version that runs", version)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = [([], now.saturating_sub(self.up).as_secs_f64())];
        out.gauge("process_start_time_seconds", "Start of the process", start)?;
        let stats = &self.process;
        let one = |value: Option<u64>| value.map(|value| ([], value));
        out.gauge("process_resident_memory_bytes", "Resident memory", one(stats.resident_bytes))?;
        let cpu = stats.cpu_seconds.map(|value| ([], value));
        out.counter("process_cpu_seconds", "User and system time", cpu)?;
        out.gauge("process_open_fds", "Open file descriptors", one(stats.open_fds))?;
        out.gauge("process_max_fds", "Most file descriptors", one(stats.max_fds))?;
        out.gauge("process_threads", "Threads", one(stats.threads))
    }

    fn pair(&self, who: super::labels::Who) -> (&str, &str) {
        self.pairs.get(who.index()).map_or(("", ""), |(account, project)| (account, project))
    }
}

/// The encoder, a family at a time; a family without a series is left out.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter<'s, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'static str, &'s str); N], V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, V, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge<'s, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = ([(&'static str, &'s str); N], V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn histogram<'s>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (&'static str, &'s super::histogram::Histogram)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (route, histogram) in series {
            family.encode_family(&[("route", route)])?.encode_histogram::<NoLabelSet>(
                histogram.sum(),
                histogram.count(),
                &histogram.buckets(),
                None,
            )?;
        }
        Ok(())
    }
}
