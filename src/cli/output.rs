//! The one door for what a command answers: data to stdout in the form that was asked for,
//! notes and refusals to stderr. Called by every command that answers with data.
//! Invariant: under `--format json` stdout is one JSON document or nothing at all.

use super::{
    error::{Form, report},
    terminal::say,
};
use crate::model::refusal::Refusal;
use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// `--format` and `--json`.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// Form of the answer
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORM")]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

impl OutputArgs {
    /// The door, for people who want notes or for those who do not.
    #[must_use]
    pub const fn door(self, notes: Notes) -> Door {
        Door { format: if self.json { Format::Json } else { self.format }, notes }
    }
}

/// Whether to print notes beside the data (`-q`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notes {
    /// Print them to stderr.
    Show,
    /// Data and refusals only.
    Hide,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[value(alias = "text")]
    Table,
    /// One JSON document.
    Json,
    /// A JSON document a line.
    Jsonl,
    /// Comma-separated values under a header.
    Csv,
    /// The bare value, one a line.
    Plain,
}

/// A column of a list: the key of the record, and the title in the table for people.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Key in the record.
    pub key: &'static str,
    /// Title in the table; without one the column is in the other forms only.
    pub title: Option<&'static str>,
}

impl Column {
    /// A column that people see too.
    #[must_use]
    pub const fn shown(key: &'static str, title: &'static str) -> Self {
        Self { key, title: Some(title) }
    }

    /// A column for programs.
    #[must_use]
    pub const fn hidden(key: &'static str) -> Self {
        Self { key, title: None }
    }
}

/// What a command has to say.
#[derive(Debug)]
pub struct Answer {
    body: Body,
    notes: Vec<String>,
}

#[derive(Debug)]
enum Body {
    Records { rows: Vec<Value>, columns: &'static [Column], empty: &'static str },
    One { document: Value, text: String },
}

impl Answer {
    /// A list; `empty` stands in the place of a table without rows.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if a row cannot be written as JSON.
    pub fn records(
        rows: &[impl Serialize],
        columns: &'static [Column],
        empty: &'static str,
    ) -> Result<Self, Refusal> {
        let rows = rows.iter().map(json).collect::<Result<_, _>>()?;
        Ok(Self { body: Body::Records { rows, columns, empty }, notes: Vec::new() })
    }

    /// One thing: a document for programs, a text for people.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it cannot be written as JSON.
    pub fn one(document: &impl Serialize, text: impl Into<String>) -> Result<Self, Refusal> {
        let body = Body::One { document: json(document)?, text: text.into() };
        Ok(Self { body, notes: Vec::new() })
    }

    /// One record: a table of one row for people.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if it cannot be written as JSON.
    pub fn one_row(document: &impl Serialize, columns: &'static [Column]) -> Result<Self, Refusal> {
        let row = json(document)?;
        let text = table(std::slice::from_ref(&row), columns).trim_end().to_owned();
        Ok(Self { body: Body::One { document: row, text }, notes: Vec::new() })
    }

    /// Adds a line for people, beside the data.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }
}

fn json(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value)
        .map_err(|error| Refusal::config(format!("cannot write the answer as JSON: {error}")))
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    format: Format,
    notes: Notes,
}

impl Door {
    /// Whether notes and progress are printed: a program that reads a failure from stderr finds
    /// that line alone there.
    #[must_use]
    pub const fn notes(self) -> Notes {
        match self.form() {
            Form::Json => Notes::Hide,
            Form::Text => self.notes,
        }
    }

    /// How refusals are written.
    #[must_use]
    pub const fn form(self) -> Form {
        match self.format {
            Format::Json | Format::Jsonl => Form::Json,
            Format::Table | Format::Csv | Format::Plain => Form::Text,
        }
    }

    /// Writes the answer or the refusal, and gives the exit code.
    #[must_use]
    pub fn finish(self, outcome: Result<Answer, Refusal>) -> ExitCode {
        match outcome.and_then(|answer| self.write(&answer)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(refusal) => report(&refusal, self.form()),
        }
    }

    /// Writes the answer: notes to stderr, then data to stdout.
    ///
    /// # Errors
    /// `CONFIG_ERROR` if stdout cannot be written.
    pub fn write(self, answer: &Answer) -> Result<(), Refusal> {
        if self.notes() == Notes::Show {
            for note in &answer.notes {
                say(note);
            }
        }
        let failed = |error: &dyn std::fmt::Display| {
            Refusal::config(format!("cannot write the answer: {error}"))
        };
        let text = match &answer.body {
            Body::Records { rows, columns, empty } => match self.format {
                Format::Table if rows.is_empty() => format!("{empty}\n"),
                Format::Table => table(rows, columns),
                Format::Json => format!("{:#}\n", Value::Array(rows.clone())),
                Format::Jsonl => rows.iter().map(|row| format!("{row}\n")).collect(),
                Format::Csv => csv(rows, columns).map_err(|error| failed(&error))?,
                Format::Plain => rows.iter().map(|row| format!("{}\n", plain(row))).collect(),
            },
            Body::One { document, text } => match self.format {
                Format::Json => format!("{document:#}\n"),
                Format::Jsonl => format!("{document}\n"),
                Format::Csv => one_as_csv(document).map_err(|error| failed(&error))?,
                Format::Table | Format::Plain => format!("{text}\n"),
            },
        };
        print(&text).map_err(|error| failed(&error))
    }
}

/// Writes data to stdout; a closed pipe is an error, not a panic.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn table(rows: &[Value], columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let shown = || columns.iter().filter_map(|column| Some((column.key, column.title?)));
    table.set_header(shown().map(|(_, title)| title));
    for row in rows {
        table.add_row(shown().map(|(key, _)| cell(&row[key], "*", "-")));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// A value as text: `yes` for true, nothing for false, `none` for null, lists joined.
fn cell(value: &Value, yes: &str, none: &str) -> String {
    match value {
        Value::Null => none.into(),
        Value::Bool(flag) => if *flag { yes } else { "" }.into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => none.into(),
        Value::Array(items) => {
            items.iter().map(|item| cell(item, yes, none)).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn csv(rows: &[Value], columns: &[Column]) -> Result<String, csv::Error> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| column.key))?;
    for row in rows {
        writer.write_record(columns.iter().map(|column| csv_cell(&row[column.key])))?;
    }
    finish_csv(writer)
}

fn one_as_csv(document: &Value) -> Result<String, csv::Error> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    if let Value::Object(map) = document {
        writer.write_record(map.keys())?;
        writer.write_record(map.values().map(csv_cell))?;
    } else {
        writer.write_record([csv_cell(document)])?;
    }
    finish_csv(writer)
}

fn finish_csv(writer: ::csv::Writer<Vec<u8>>) -> Result<String, csv::Error> {
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn csv_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What names the record: its name, else its id, else its first field.
fn plain(row: &Value) -> String {
    let first = || row.as_object().and_then(|map| map.values().next());
    row.get("name").or_else(|| row.get("id")).or_else(first).map(csv_cell).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: [Column; 3] =
        [Column::shown("name", "NAME"), Column::shown("on", "ON"), Column::hidden("of")];

    #[test]
    fn one_list_in_its_forms() {
        let rows = [
            json!({"name": "a", "on": true, "of": ["x", "y"]}),
            json!({"name": "long-name", "on": false, "of": []}),
        ];
        assert_eq!(table(&rows, &COLUMNS), "NAME       ON\na          *\nlong-name\n");
        assert_eq!(
            csv(&rows, &COLUMNS).unwrap(),
            "name,on,of\na,true,\"[\"\"x\"\",\"\"y\"\"]\"\nlong-name,false,[]\n"
        );
        assert_eq!(rows.iter().map(plain).collect::<Vec<_>>(), ["a", "long-name"]);
    }

    #[test]
    fn one_thing_as_csv() {
        assert_eq!(one_as_csv(&json!({"a": null, "b": "x,y"})).unwrap(), "a,b\n,\"x,y\"\n");
        assert_eq!(one_as_csv(&json!("x")).unwrap(), "x\n");
    }
}
