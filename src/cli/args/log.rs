//! How the log on stderr looks: arguments shared by the commands that log.

use crate::proxy::observe::{AccessLog, Form, line::Level};
use clap::{Args, ValueEnum};

/// How the log on stderr looks.
#[derive(Debug, Args)]
pub struct Log {
    /// Form of the log lines
    #[arg(long, env = "MP_PROXY_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Least severe level that is logged
    #[arg(long, env = "MP_PROXY_LOG_LEVEL", value_enum, default_value = "info")]
    pub log_level: LogLevel,
    /// Log errors only
    #[arg(long, env = "MP_PROXY_QUIET")]
    pub quiet: bool,
}

impl Log {
    /// What a command says under `--verbose`.
    #[must_use]
    pub const fn verbose() -> Self {
        Self { log_format: LogFormat::Text, log_level: LogLevel::Debug, quiet: false }
    }

    /// Logs no less than under `--verbose`.
    pub const fn raise(&mut self) {
        if !matches!(self.log_level, LogLevel::Trace) {
            self.log_level = LogLevel::Debug;
        }
    }

    /// How requests are logged: one line each, unless the level is above all of them.
    #[must_use]
    pub fn requests(&self) -> Option<AccessLog> {
        let form = match self.log_format {
            LogFormat::Text => Form::Text,
            LogFormat::Json => Form::Json,
        };
        let least = match self.log_level {
            _ if self.quiet => return None,
            LogLevel::Error => return None,
            LogLevel::Warn => Level::Warn,
            LogLevel::Info => Level::Info,
            LogLevel::Debug | LogLevel::Trace => Level::Debug,
        };
        Some(AccessLog { form, least })
    }
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, an object a line.
    Json,
}

/// `--log-level`.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[expect(missing_docs, reason = "each name is its own documentation")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
