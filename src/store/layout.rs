//! Changes to a TOML text that keep everything else as it was: comments, order, blank lines.
//! Called by `config_edit.rs`. Invariant: what is not named by the change stays byte for byte,
//! but for the blank lines around a block that goes.

use super::toml_one::{NotToml, parse, parse_mut};
use std::{collections::BTreeMap, fmt, ops::Range};
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value};
use zeroize::Zeroizing;

/// A TOML text under change.
pub(super) struct Layout {
    text: Zeroizing<String>,
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SECURITY: the text holds secrets.
        f.write_str("Layout")
    }
}

/// The text is not TOML, or holds something else where a table is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LayoutError {
    NotToml,
    NotATable(String),
}

impl From<NotToml> for LayoutError {
    fn from(_: NotToml) -> Self {
        Self::NotToml
    }
}

impl From<TomlError> for LayoutError {
    fn from(_: TomlError) -> Self {
        Self::NotToml
    }
}

impl Layout {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: Zeroizing::new(text.into()) }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text as it is now, with the line ends that it had.
    pub(super) fn into_text(self) -> Zeroizing<String> {
        self.text
    }

    /// The string at the end of this path, if there is one.
    pub(super) fn string(&self, path: &[&str]) -> Result<Option<String>, LayoutError> {
        let document = parse(self.text.as_str())?;
        let found = find(document.as_table(), path);
        Ok(found.and_then(|(item, _)| item.as_str()).map(str::to_owned))
    }

    /// The keys of the table at the end of this path, in order.
    pub(super) fn keys(&self, path: &[&str]) -> Result<Vec<String>, LayoutError> {
        let document = parse(self.text.as_str())?;
        let table = find(document.as_table(), path).and_then(|(item, _)| item.as_table_like());
        Ok(table
            .map(|table| table.iter().map(|(key, _)| key.to_owned()).collect())
            .unwrap_or_default())
    }

    /// Sets one value. A value that is there keeps the comments around it; a table that is not
    /// there is made.
    pub(super) fn set(
        &mut self,
        path: &[&str],
        key: &str,
        value: impl Into<Value>,
    ) -> Result<(), LayoutError> {
        let mut value = value.into();
        self.change(|document| {
            let table = descend(document.as_table_mut(), path)?;
            if let Some(Item::Value(old)) = table.get_mut(key) {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            } else {
                table.insert(key, Item::Value(value));
            }
            Ok(())
        })
    }

    /// Makes sure that there is such a table, even an empty one.
    pub(super) fn table(&mut self, key: &str) -> Result<(), LayoutError> {
        if find(parse(self.text.as_str())?.as_table(), &[key]).is_some() {
            return Ok(());
        }
        self.change(|document| {
            document.insert(key, Item::Table(Table::new()));
            Ok(())
        })
    }

    /// Removes what is at the end of this path: a value with its line, a block with its header,
    /// its inner comments and the comment lines right above it.
    pub(super) fn remove(&mut self, path: &[&str]) -> Result<(), LayoutError> {
        let document = parse(self.text.as_str())?;
        let Some((item, key)) = find(document.as_table(), path) else { return Ok(()) };
        if is_inside_inline(document.as_table(), path) {
            return self.change(|document| {
                let Some((last, parents)) = path.split_last() else { return Ok(()) };
                descend(document.as_table_mut(), parents)?.remove(last);
                Ok(())
            });
        }
        let mut cuts = BTreeMap::new();
        lines(&self.text, item, key, &mut cuts);
        self.cut(cuts);
        Ok(())
    }

    /// Removes a table that has nothing in it; the comments around its header stay.
    pub(super) fn remove_empty(&mut self, key: &str) -> Result<(), LayoutError> {
        let document = parse(self.text.as_str())?;
        let Some((item, at)) = find(document.as_table(), &[key]) else { return Ok(()) };
        if item.as_table_like().is_none_or(|table| !table.is_empty()) {
            return Ok(());
        }
        let span = item.span().or(at).unwrap_or_default();
        let cut = line_start(&self.text, span.start)..line_end(&self.text, span.end);
        self.cut(BTreeMap::from([(cut.start, cut.end)]));
        Ok(())
    }

    fn change(
        &mut self,
        change: impl FnOnce(&mut DocumentMut) -> Result<(), LayoutError>,
    ) -> Result<(), LayoutError> {
        let mut document = parse_mut(self.text.as_str())?;
        // Comments without a table would all end up below the first one.
        let comments = if document.is_empty() { self.text.trim_end() } else { "" };
        if document.is_empty() {
            document = DocumentMut::new();
        }
        change(&mut document)?;
        let text = match comments {
            "" => document.to_string(),
            comments => format!("{comments}\n\n{document}"),
        };
        // The writer ends its own lines in LF alone.
        let all_crlf = self.text.contains("\r\n") && !self.text.replace("\r\n", "").contains('\n');
        let text = if all_crlf { text.replace("\r\n", "\n").replace('\n', "\r\n") } else { text };
        self.text = text.into();
        Ok(())
    }

    fn cut(&mut self, cuts: BTreeMap<usize, usize>) {
        for (start, end) in cuts.into_iter().rev() {
            let (before, mut after) = (&self.text[..start], &self.text[end..]);
            // Of the blank lines on both sides, one side's are enough.
            if before.is_empty() || before.ends_with("\n\n") || before.ends_with("\n\r\n") {
                after = after.trim_start_matches(['\r', '\n']);
            }
            self.text = Zeroizing::new([before, after].concat());
        }
        let kept = self.text.trim_end_matches(['\r', '\n']).len();
        if kept < self.text.len() {
            let end = if kept == 0 { 0 } else { line_end(&self.text, kept) };
            self.text.truncate(end);
        }
    }
}

/// The item at the end of the path, and the place of its key.
fn find<'i>(root: &'i Table, path: &[&str]) -> Option<(&'i Item, Option<Range<usize>>)> {
    let (last, parents) = path.split_last()?;
    let table = parents.iter().try_fold(root as &dyn TableLike, |table, key| {
        let item: &Item = table.get(key)?;
        item.as_table_like()
    })?;
    Some((table.get(last)?, table.key(last).and_then(toml_edit::Key::span)))
}

fn is_inside_inline(root: &Table, path: &[&str]) -> bool {
    (1..path.len())
        .any(|length| find(root, &path[..length]).is_some_and(|(item, _)| item.is_inline_table()))
}

/// The lines that an item takes, as start and end.
fn lines(text: &str, item: &Item, key: Option<Range<usize>>, cuts: &mut BTreeMap<usize, usize>) {
    match item {
        Item::None => {}
        Item::Value(value) => {
            let start = key.map_or(0, |key| key.start);
            let end = value.span().map_or(start, |span| span.end);
            cuts.insert(line_start(text, start), line_end(text, end));
        }
        Item::ArrayOfTables(tables) => {
            tables.iter().for_each(|table| table_lines(text, table, cuts));
        }
        Item::Table(table) => table_lines(text, table, cuts),
    }
}

fn table_lines(text: &str, table: &Table, cuts: &mut BTreeMap<usize, usize>) {
    let mut inner = BTreeMap::new();
    for (key, item) in table {
        lines(text, item, table.key(key).and_then(toml_edit::Key::span), &mut inner);
    }
    let header = (!table.is_implicit() && !table.is_dotted()).then(|| table.span()).flatten();
    let Some(header) = header else { return cuts.extend(inner) };
    // From the header to the last value of its body, comments included.
    let body = values_end(table).unwrap_or(header.end).max(header.end);
    let (start, end) = (above(text, line_start(text, header.start)), line_end(text, body));
    cuts.insert(start, end);
    cuts.extend(inner.into_iter().filter(|(other, _)| !(start..end).contains(other)));
}

fn values_end(table: &Table) -> Option<usize> {
    table.get_values().iter().filter_map(|(_, value)| Some(value.span()?.end)).max()
}

/// Where the comment lines right above a line start; the comment that opens the file stays.
fn above(text: &str, line: usize) -> usize {
    let mut start = line;
    while start > 0 {
        let previous = line_start(text, start - 1);
        if !text[previous..start].trim_start().starts_with('#') {
            return start;
        }
        start = previous;
    }
    if start == line { start } else { line }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The start of the next line.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// The table at the end of the path; one that is missing is made in the form of its parent.
fn descend<'d>(root: &'d mut Table, path: &[&str]) -> Result<&'d mut dyn TableLike, LayoutError> {
    let mut table: &mut dyn TableLike = root;
    let mut inline = false;
    for (index, key) in path.iter().enumerate() {
        let item = table.entry(key).or_insert_with(|| {
            if inline {
                return Item::Value(Value::InlineTable(InlineTable::new()));
            }
            let mut new = Table::new();
            new.set_implicit(index + 1 < path.len());
            Item::Table(new)
        });
        inline = item.is_inline_table();
        table = item
            .as_table_like_mut()
            .ok_or_else(|| LayoutError::NotATable(path[..=index].join(".")))?;
    }
    Ok(table)
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
