//! What `mp`'s config and environment say about pacing: `MP_PACER…` and `[settings] pacer…`.
//! Called once at start by `serve` and by `quota`. Invariant: what is wrong there is ignored,
//! as unknown settings are; pacing never stops the start.

use super::toml_one;
use crate::sys::{env::Env, private_file};
use std::{collections::HashMap, time::Duration};

/// The knobs of `mp`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PacerSettings {
    /// Whether to pace.
    pub on: Option<bool>,
    /// How long a request may wait.
    pub max_wait: Option<Duration>,
    /// Query requests in an hour.
    pub query_limit: Option<u32>,
    /// The same for single projects.
    pub query_limits: HashMap<String, u32>,
}

impl PacerSettings {
    /// Environment over config.
    #[must_use]
    pub fn load(env: &Env) -> Self {
        let config =
            env.config_path().and_then(|path| private_file::read(&path, env.home()).ok().flatten());
        let text = config.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let mut settings = text.map(from_config).unwrap_or_default();
        let get = |name: &str| env.get(name).map(str::trim);
        settings.on = get("MP_PACER").and_then(word).or(settings.on);
        settings.max_wait = get("MP_PACER_MAX_WAIT")
            .and_then(|text| seconds(text.parse().ok()?))
            .or(settings.max_wait);
        settings.query_limit = get("MP_PACER_QUERY_LIMIT")
            .and_then(|text| text.parse().ok())
            .filter(|limit| *limit > 0);
        settings
    }
}

fn from_config(text: &str) -> PacerSettings {
    let Ok(document) = toml_one::parse(text) else { return PacerSettings::default() };
    let Some(settings) = document.as_table().get("settings").and_then(|item| item.as_table_like())
    else {
        return PacerSettings::default();
    };
    let number =
        |item: &toml_edit::Item| item.as_float().or_else(|| Some(item.as_integer()? as f64));
    let limits = settings.get("pacer_query_limits").and_then(|item| item.as_table_like());
    let limit = |(project, item): (&str, &toml_edit::Item)| {
        let limit = u32::try_from(item.as_integer()?).ok().filter(|limit| *limit > 0)?;
        Some((project.to_owned(), limit))
    };
    PacerSettings {
        on: settings.get("pacer").and_then(|item| item.as_bool().or_else(|| word(item.as_str()?))),
        max_wait: settings.get("pacer_max_wait").and_then(number).and_then(seconds),
        query_limit: None,
        query_limits: limits
            .into_iter()
            .flat_map(|limits| limits.iter().filter_map(limit))
            .collect(),
    }
}

fn word(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Some(true),
        "off" | "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

fn seconds(number: f64) -> Option<Duration> {
    (0.0..=86_400.0).contains(&number).then(|| Duration::from_secs_f64(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_over_config_and_nonsense_is_ignored() {
        let settings = from_config(
            "[settings]\npacer = \"off\"\npacer_max_wait = 5\n[settings.pacer_query_limits]\n12 = 30\n13 = -1\n",
        );
        assert_eq!((settings.on, settings.max_wait), (Some(false), Some(Duration::from_secs(5))));
        assert_eq!(settings.query_limits, HashMap::from([("12".to_owned(), 30)]));
        assert_eq!(
            from_config("[settings]\npacer = 7\npacer_max_wait = -1\n"),
            PacerSettings::default()
        );
        let vars =
            [("MP_PACER", "ON"), ("MP_PACER_MAX_WAIT", "2.5"), ("MP_PACER_QUERY_LIMIT", "0")];
        let settings = PacerSettings::load(&Env::new(vars, "/"));
        assert_eq!(
            (settings.on, settings.max_wait, settings.query_limit),
            (Some(true), Some(Duration::from_millis(2500)), None)
        );
    }
}
