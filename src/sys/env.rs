//! The environment as a value: taken once from the process, or made up by a test.
//! Called by the store, the resolver and the commands.
//! Invariants: an empty variable is unset; `Debug` shows names, never values.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

/// User name of the environment's service account.
pub const MP_USERNAME: &str = "MP_USERNAME";
/// Secret of the environment's service account.
pub const MP_SECRET: &str = "MP_SECRET";
/// Project, above every other source.
pub const MP_PROJECT_ID: &str = "MP_PROJECT_ID";
/// Region of the environment's account.
pub const MP_REGION: &str = "MP_REGION";
/// Static bearer of the environment's OAuth account.
pub const MP_OAUTH_TOKEN: &str = "MP_OAUTH_TOKEN";
/// Workspace, above every other source.
pub const MP_WORKSPACE_ID: &str = "MP_WORKSPACE_ID";
/// Name of the environment's custom header.
pub const MP_CUSTOM_HEADER_NAME: &str = "MP_CUSTOM_HEADER_NAME";
/// Value of the environment's custom header.
pub const MP_CUSTOM_HEADER_VALUE: &str = "MP_CUSTOM_HEADER_VALUE";
/// The config file.
pub const MP_CONFIG_PATH: &str = "MP_CONFIG_PATH";
/// The bridge file.
pub const MP_AUTH_FILE: &str = "MP_AUTH_FILE";
/// The storage root.
pub const MP_STORAGE_DIR: &str = "MP_STORAGE_DIR";
/// The storage root, under its older name.
pub const MP_OAUTH_STORAGE_DIR: &str = "MP_OAUTH_STORAGE_DIR";
/// Default of `--account`.
pub const MP_ACCOUNT: &str = "MP_ACCOUNT";
/// Default of `--target`.
pub const MP_TARGET: &str = "MP_TARGET";
/// The token that a caller shows to the proxy; set by `mp-proxy run` for its program.
pub const MP_PROXY_TOKEN: &str = "MP_PROXY_TOKEN";
/// A token that callers have to show.
pub const MP_PROXY_CLIENT_TOKEN: &str = "MP_PROXY_CLIENT_TOKEN";
/// Any value keeps colours out of the log (<https://no-color.org>).
pub const NO_COLOR: &str = "NO_COLOR";
/// Where the proxy forwards to instead of Mixpanel (demo and tests).
pub const MP_PROXY_UPSTREAM: &str = "MP_PROXY_UPSTREAM";

/// Environment variables, home and current directory.
#[derive(Clone)]
pub struct Env {
    vars: BTreeMap<String, String>,
    home: Option<PathBuf>,
    cwd: PathBuf,
}

impl Env {
    /// The environment of this process, as it is now. Variables that are not UTF-8 are left out,
    /// except for `HOME`.
    #[must_use]
    pub fn process() -> Self {
        let vars: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut env = Self::new(vars, std::env::current_dir().unwrap_or_default());
        env.home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        env
    }

    /// The names of this process's variables that begin with `MP_`: a program that we start has no
    /// use for them, and some are secrets. Those that are not UTF-8 are among them.
    #[must_use]
    pub fn own_names() -> Vec<OsString> {
        let names = std::env::vars_os().map(|(name, _)| name);
        names.filter(|name| name.as_encoded_bytes().starts_with(b"MP_")).collect()
    }

    /// An environment of exactly these variables.
    #[must_use]
    pub fn new(
        vars: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
        cwd: impl Into<PathBuf>,
    ) -> Self {
        let vars: BTreeMap<String, String> =
            vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let home = vars.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self { vars, home, cwd: cwd.into() }
    }

    /// The same with one variable set.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut env = self.clone();
        env.vars.insert(name.to_owned(), value.to_owned());
        env
    }

    /// The value of a variable; empty counts as unset.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Names of the variables that are set and begin so.
    #[must_use]
    pub fn names(&self, prefix: &str) -> Vec<&str> {
        let set =
            |(name, value): &(&String, &String)| name.starts_with(prefix) && !value.is_empty();
        self.vars.iter().filter(set).map(|(name, _)| name.as_str()).collect()
    }

    /// The home directory, if there is one.
    #[must_use]
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// The current directory.
    #[must_use]
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// Where the config is: `MP_CONFIG_PATH`, else `~/.mp/config.toml`.
    #[must_use]
    pub fn config_path(&self) -> Option<PathBuf> {
        self.path(MP_CONFIG_PATH).or_else(|| Some(self.home()?.join(".mp/config.toml")))
    }

    /// Where tokens and clients are: `MP_STORAGE_DIR`, else `MP_OAUTH_STORAGE_DIR`, else `~/.mp`.
    #[must_use]
    pub fn storage_root(&self) -> Option<PathBuf> {
        self.path(MP_STORAGE_DIR)
            .or_else(|| self.path(MP_OAUTH_STORAGE_DIR))
            .or_else(|| Some(self.home()?.join(".mp")))
    }

    /// Where a bridge may be, first choice first. `MP_AUTH_FILE` rules out the default places.
    #[must_use]
    pub fn bridge_candidates(&self) -> Vec<PathBuf> {
        if let Some(path) = self.path(MP_AUTH_FILE) {
            return vec![path];
        }
        let home = self.home().map(|home| home.join(".claude/mixpanel/auth.json"));
        home.into_iter().chain([self.cwd.join("mixpanel_auth.json")]).collect()
    }

    /// A path variable, relative to the current directory; `~` is not expanded (quirk E12).
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(|path| self.cwd.join(path))
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("names", &self.vars.keys().collect::<Vec<_>>())
            .field("home", &self.home)
            .field("cwd", &self.cwd)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_unset_and_defaults_hang_off_home() {
        let env = Env::new([("HOME", "/h"), (MP_CONFIG_PATH, ""), (MP_SECRET, "s3cr3t")], "/w");
        assert_eq!(env.get(MP_CONFIG_PATH), None);
        assert_eq!(env.config_path(), Some("/h/.mp/config.toml".into()));
        assert_eq!(env.storage_root(), Some("/h/.mp".into()));
        let bridges: [PathBuf; 2] =
            ["/h/.claude/mixpanel/auth.json".into(), "/w/mixpanel_auth.json".into()];
        assert_eq!(env.bridge_candidates(), bridges);
        assert!(!format!("{env:?}").contains("s3cr3t"));
    }

    #[test]
    fn path_variables_are_relative_to_the_current_directory() {
        let vars =
            [(MP_CONFIG_PATH, "c.toml"), (MP_AUTH_FILE, "~/b"), (MP_OAUTH_STORAGE_DIR, "/s")];
        let env = Env::new(vars, "/w");
        assert_eq!(env.config_path(), Some("/w/c.toml".into()));
        assert_eq!(env.bridge_candidates(), [PathBuf::from("/w/~/b")]);
        assert_eq!(env.storage_root(), Some("/s".into()));
        assert_eq!(Env::new([("HOME", "")], "/w").config_path(), None);
    }
}
