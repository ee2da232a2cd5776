//! Flags that say how requests are paced. Flattened into `serve`; `quota` takes the same.

use crate::{
    proxy::pace::{Mode, Options},
    store::pacer_settings::PacerSettings,
    sys::env::Env,
};
use clap::Args;
use std::time::Duration;

/// The flags. What is not given falls back to the knobs of `mp`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Quotas")]
pub struct Pace {
    /// What is done about Mixpanel's quotas: nothing, report them, or hold requests back [default: observe]
    #[arg(long, env = "MP_PROXY_PACE", value_enum)]
    pub pace: Option<Mode>,
    /// Seconds that a request may wait for its slot before it is refused [default: 30]
    #[arg(long, env = "MP_PROXY_PACE_MAX_WAIT", value_name = "SECONDS", value_parser = wait)]
    pub pace_max_wait: Option<Duration>,
    /// Query API requests an hour and project [default: 60, or what Mixpanel says]
    #[arg(long, env = "MP_PROXY_PACE_QUERY_LIMIT", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pace_query_limit: Option<u32>,
    /// Length of the window in seconds, for stand-ins whose time runs faster
    #[arg(long, env = "MP_PROXY_PACE_WINDOW", value_name = "SECONDS", default_value = "3600", hide = true, value_parser = clap::value_parser!(u32).range(2..=86_400))]
    pub pace_window: u32,
}

impl Pace {
    /// What the flags and `mp`'s knobs ask for.
    #[must_use]
    pub fn options(self, env: &Env) -> Options {
        let knobs = PacerSettings::load(env);
        let usual = if knobs.on == Some(false) { Mode::Off } else { Mode::Observe };
        Options {
            mode: self.pace.unwrap_or(usual),
            max_wait: self.pace_max_wait.or(knobs.max_wait).unwrap_or(Duration::from_secs(30)),
            query_limit: self.pace_query_limit.or(knobs.query_limit),
            query_limits: knobs.query_limits,
            window: f64::from(self.pace_window),
        }
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it must be a number of seconds, at most 86400".into())
}
