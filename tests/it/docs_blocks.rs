//! The fenced blocks of a page, and the one script that runs them in order. Called by `docs`.
//!
//! The info string says what becomes of a block: nothing more than the language runs it;
//! `fails` wants it to fail; `not-run: WHY` leaves it out. Languages that are not programs
//! (`text`, `http`, …) are shown only, `toml` and `json` must parse.

use std::{fmt::Write as _, fs, path::Path};

#[derive(Debug, PartialEq, Eq)]
pub enum Mark {
    Runs,
    Fails,
    NotRun(String),
}

#[derive(Debug)]
pub struct Block {
    pub line: usize,
    pub language: String,
    pub mark: Mark,
    pub text: String,
}

/// The programs that can be run, and what runs them.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("python", "prog.py", "python prog.py"),
    ("js", "prog.mjs", "node prog.mjs"),
    ("go", "main.go", "GO111MODULE=off go run main.go"),
    ("r", "prog.R", "Rscript --vanilla prog.R"),
];

/// What has to be installed for blocks in this language.
pub fn tool(language: &str) -> Option<&'static str> {
    match language {
        "python" => Some("python3"),
        "js" => Some("node"),
        "go" => Some("go"),
        "r" => Some("Rscript"),
        _ => None,
    }
}

pub fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for (number, line) in page.lines().enumerate() {
        let inner = line.trim_start();
        match &mut open {
            None if inner.starts_with("```") => {
                let (language, rest) = inner[3..].split_once(' ').unwrap_or((&inner[3..], ""));
                let mark = match rest.trim() {
                    "" => Mark::Runs,
                    "fails" => Mark::Fails,
                    rest => {
                        let why = rest.strip_prefix("not-run: ");
                        let why = why.unwrap_or_else(|| panic!("line {}: {rest:?}", number + 1));
                        assert!(why.len() > 10, "line {}: give the reason", number + 1);
                        Mark::NotRun(why.to_owned())
                    }
                };
                let block = Block {
                    line: number + 1,
                    language: language.into(),
                    mark,
                    text: String::new(),
                };
                open = Some((line.len() - inner.len(), block));
            }
            None => {}
            Some(_) if inner == "```" => found.extend(open.take().map(|(_, block)| block)),
            Some((indent, block)) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

/// One bash script of all blocks that run; programs are written below `home`.
pub fn script(blocks: &[Block], home: &Path, missing: &dyn Fn(&str) -> bool) -> (String, usize) {
    // The guard at the end ends what a block left running, and nothing else.
    let mut script = String::from(
        "set -euo pipefail\ntrap 'code=$?; set +e; kill $(jobs -p) 2>/dev/null; wait; exit $code' EXIT\n",
    );
    let mut count = 0;
    for block in blocks {
        let line = block.line;
        let body = match block.language.as_str() {
            "sh" => block.text.clone(),
            "toml" => {
                block.text.parse::<toml_edit::DocumentMut>().unwrap_or_else(|error| {
                    panic!("line {line}: {error}");
                });
                continue;
            }
            "json" => {
                serde_json::from_str::<serde_json::Value>(&block.text)
                    .unwrap_or_else(|error| panic!("line {line}: {error}"));
                continue;
            }
            language => {
                let Some((_, file, run)) = PROGRAMS.iter().find(|(name, ..)| *name == language)
                else {
                    continue;
                };
                if missing(language) {
                    writeln!(script, "echo 'line {line}: {language} is not installed'").unwrap();
                    continue;
                }
                let folder = home.join(format!("block-{line}"));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(file), &block.text).unwrap();
                format!("(cd {}; {run})\n", folder.display())
            }
        };
        match &block.mark {
            Mark::NotRun(_) => continue,
            Mark::Runs => writeln!(script, "echo '── line {line}'\n{body}").unwrap(),
            Mark::Fails => writeln!(
                script,
                "echo '── line {line}, fails'\nif (\n{body}); then echo 'it did not fail'; exit 1; fi"
            )
            .unwrap(),
        }
        count += 1;
    }
    (script, count)
}

#[test]
fn the_info_string_decides() {
    let page = "a\n```sh\none\n```\n\n```sh not-run: needs a cluster\nthree\n```\n";
    let found = blocks(page);
    assert_eq!(found.iter().map(|block| block.line).collect::<Vec<_>>(), [2, 6]);
    assert_eq!(found[1].mark, Mark::NotRun("needs a cluster".into()));
    let page = "1. x\n   ```sh fails\n   two\n   ```\n";
    let found = blocks(page);
    assert_eq!((found[0].text.as_str(), &found[0].mark), ("two\n", &Mark::Fails));
    let (script, count) = script(&found, Path::new("/nowhere"), &|_| false);
    assert!(script.contains("did not fail") && count == 1);
}
