//! A config under change. Made by `edit` alone; `changes` has what can be done to it.
//! Invariant: nothing is written whose account blocks are not all good.

use crate::{
    model::{account::Active, refusal::Refusal},
    store::{
        config::Config,
        layout::{Layout, LayoutError},
    },
};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The config under change.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    before: Config,
    pub(super) layout: Layout,
}

impl Draft {
    pub(super) fn parse(mut bytes: Zeroizing<Vec<u8>>, path: &Path) -> Result<Self, Refusal> {
        let before = Config::parse(&bytes, path)?;
        // `Config::parse` has checked it.
        let text = String::from_utf8(std::mem::take(&mut *bytes))
            .map_err(|_| Refusal::config("not valid UTF-8"))?;
        Ok(Self { path: path.into(), before, layout: Layout::new(text) })
    }

    /// The text to write, once every account block is found to be good.
    pub(super) fn finish(self) -> Result<Zeroizing<String>, Refusal> {
        let text = self.layout.into_text();
        let after = Config::parse(text.as_bytes(), &self.path)?;
        after.accounts_are_a_table()?;
        for name in after.account_names() {
            if let Err(refusal) = after.account(name) {
                // Of a block that was broken before, the line in the file is the one to name.
                let known = self.before.account_names().contains(&name);
                return Err(known
                    .then(|| self.before.account(name).err())
                    .flatten()
                    .unwrap_or(refusal));
            }
        }
        after.accounts_are_whole()?;
        Ok(text)
    }

    /// The config as it was read.
    #[must_use]
    pub const fn before(&self) -> &Config {
        &self.before
    }

    /// Whether there is such an account, broken or not.
    #[must_use]
    pub fn has_account(&self, name: &str) -> bool {
        self.before.account_names().contains(&name)
    }

    /// The `type` of an account block, even of a broken one.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn account_type(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.layout.string(&["accounts", name, "type"]).map_err(|error| self.refusal(&error))
    }

    /// `[active].account` as the draft has it, whatever else is in the block.
    ///
    /// # Errors
    /// As [`Self::add_account`].
    pub fn active_account(&self) -> Result<Option<String>, Refusal> {
        self.layout.string(&["active", "account"]).map_err(|error| self.refusal(&error))
    }

    /// `[active]` as the draft has it.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if the block is malformed.
    pub fn active(&self) -> Result<Active, Refusal> {
        Config::parse(self.layout.text().as_bytes(), &self.path)?.active()
    }

    pub(super) fn set(
        &mut self,
        path: &[&str],
        key: &str,
        value: impl Into<toml_edit::Value>,
    ) -> Result<(), Refusal> {
        self.layout.set(path, key, value).map_err(|error| self.refusal(&error))
    }

    pub(super) fn remove(&mut self, path: &[&str]) -> Result<(), Refusal> {
        self.layout.remove(path).map_err(|error| self.refusal(&error))
    }

    pub(super) fn refusal(&self, error: &LayoutError) -> Refusal {
        let path = self.path.display();
        match error {
            LayoutError::NotATable(place) => {
                // The reader knows the line.
                let (section, name) = place.split_once('.').unwrap_or((place, ""));
                let known = match section {
                    "accounts" => self.before.account(name).err(),
                    "targets" => self.before.target(name).err(),
                    _ => self.before.active().err(),
                };
                if let Some(known) = known.filter(|known| known.reason.is_none()) {
                    return known;
                }
                Refusal::config(format!("`{path}` [{place}]: must be a table"))
            }
            LayoutError::NotToml => Refusal::config(format!("`{path}`: not valid TOML")),
        }
        .hint(format!("edit `{path}`"))
    }
}
