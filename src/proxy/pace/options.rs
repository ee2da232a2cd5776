//! How requests are paced, as it is asked for. Made by the flags, used by the pacer and by
//! `mp-proxy quota`.

use super::{counted::Family, schedule::Budget};
use serde::Serialize;
use std::{collections::HashMap, time::Duration};

/// What is done about quotas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing.
    Off,
    /// Requests are counted and answers say what is left; nothing is delayed.
    #[default]
    Observe,
    /// Requests wait for a slot.
    Queue,
}

/// How requests are paced.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is done.
    pub mode: Mode,
    /// How long a request may wait for a slot.
    pub max_wait: Duration,
    /// Query requests in a window, for projects without a number of their own.
    pub query_limit: Option<u32>,
    /// Query requests in a window, by project.
    pub query_limits: HashMap<String, u32>,
    /// The window in seconds; an hour at Mixpanel.
    pub window: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            max_wait: Duration::from_secs(30),
            query_limit: None,
            query_limits: HashMap::new(),
            window: 3600.0,
        }
    }
}

impl Options {
    /// The budget of a project.
    #[must_use]
    pub fn budget(&self, family: Family, project: &str) -> Budget {
        let window = self.window;
        match family {
            Family::Query => Budget {
                family,
                limit: 60,
                configured: self.query_limits.get(project).copied().or(self.query_limit),
                window,
                per_second: None,
                at_once: Some(5),
            },
            Family::Export => Budget {
                family,
                limit: 60,
                configured: None,
                window,
                per_second: Some(3),
                at_once: None,
            },
        }
    }
}
