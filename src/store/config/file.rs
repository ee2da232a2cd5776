//! Blocks of the config with what error messages need to know of the file: its path and the lines.
//! Invariant: what is handed to a check is wiped after it; no message holds a value.

use super::{Blocks, Header};
use crate::{
    model::refusal::Refusal,
    store::{
        account_block::{self, Problem},
        headers,
        wiped::Wiped,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, ops::Range, path::Path};
use toml_edit::{Item, TableLike};

/// What error messages need to know.
pub(super) struct File<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Path,
}

impl File<'_> {
    pub(super) fn blocks<T>(
        &self,
        root: &toml_edit::Table,
        section: &str,
        check: impl Fn(&str, &Map<String, Value>) -> Result<T, Problem>,
    ) -> Blocks<T> {
        let Some(item) = root.get(section) else { return Ok(BTreeMap::new()) };
        let Some(table) = item.as_table_like() else {
            return Err(self.refusal(&format!("[{section}]"), item.span(), "must be a table"));
        };
        let block = |(name, item): (&str, &Item)| {
            let place = format!("[{section}.{}]", name.escape_debug());
            let key = table.key(name).and_then(toml_edit::Key::span);
            (name.to_owned(), self.block(&place, item, key, |block| check(name, block)))
        };
        Ok(table.iter().map(block).collect())
    }

    pub(super) fn block<T>(
        &self,
        place: &str,
        item: &Item,
        key: Option<Range<usize>>,
        check: impl FnOnce(&Map<String, Value>) -> Result<T, Problem>,
    ) -> Result<T, Refusal> {
        let span = item.span().or(key);
        let Some(table) = item.as_table_like() else {
            return Err(self.refusal(place, span, "must be a table"));
        };
        check(&Wiped::from(object(table))).map_err(|problem| {
            let at = problem.key.and_then(|key| table.key(&key)?.span());
            self.refusal(place, at.or(span), &problem.text)
        })
    }

    pub(super) fn custom_header(&self, root: &toml_edit::Table) -> Result<Option<Header>, Refusal> {
        let place = "[settings].custom_header";
        let Some(item) = root.get("settings") else { return Ok(None) };
        let Some(settings) = item.as_table_like() else {
            return Err(self.refusal("[settings]", item.span(), "must be a table"));
        };
        let Some(item) = settings.get("custom_header") else { return Ok(None) };
        let (name, value) = self.block(place, item, None, |block| {
            let part = |key| account_block::required(block, key).map(str::to_owned);
            Ok((part("name")?, SecretString::from(part("value")?)))
        })?;
        headers::custom_header(&name, value.expose_secret(), &self.place(place, item.span()))
            .map(Some)
    }

    fn place(&self, place: &str, span: Option<Range<usize>>) -> String {
        let line = |span: Range<usize>| place_line(self.text.as_bytes(), span.start);
        let line = span.map(|span| format!(":{}", line(span))).unwrap_or_default();
        format!("`{}{line}` {place}", self.path.display())
    }

    fn refusal(&self, place: &str, span: Option<Range<usize>>, text: &str) -> Refusal {
        Refusal::config(format!("{}: {text}", self.place(place, span)))
            .hint(format!("edit `{}`", self.path.display()))
    }
}

/// A table as JSON. What JSON cannot say becomes an array, which no field accepts.
fn object(table: &dyn TableLike) -> Map<String, Value> {
    let value = |item: &Item| match item {
        Item::Value(toml_edit::Value::String(text)) => text.value().as_str().into(),
        Item::Value(toml_edit::Value::Integer(number)) => (*number.value()).into(),
        Item::Value(toml_edit::Value::Boolean(flag)) => (*flag.value()).into(),
        Item::Value(toml_edit::Value::Float(number)) => {
            serde_json::Number::from_f64(*number.value())
                .map_or_else(|| Value::Array(Vec::new()), Value::Number)
        }
        _ => Value::Array(Vec::new()),
    };
    table.iter().map(|(key, item)| (key.to_owned(), value(item))).collect()
}

fn place_line(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// `LINE:COLUMN` of a byte offset, counted from 1, columns in characters.
pub(super) fn place(text: &[u8], offset: usize) -> String {
    let before = &text[..offset.min(text.len())];
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    format!("{}:{column}", place_line(text, offset))
}
