//! Tables of the documentation against the program: error codes, flags and variables, commands,
//! and every key of the example config.

use clap::{Command, CommandFactory as _};
use mp_proxy::cli::args::Cli;
use std::{collections::BTreeSet, fs, path::Path, process};

use crate::{reference, support::Home};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The cells of every table row.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let line = line.replace("\\|", "\u{1}");
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().replace('\u{1}', "|")).collect()
        })
        .collect()
}

/// What stands in back-ticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The flags of a cell, without their values; "`--allow-project`, `-account`" is two of a kind.
fn flags(cell: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for text in quoted(cell) {
        let name = text.split(' ').next().unwrap_or_default();
        if name.starts_with("--") {
            found.push(name.to_owned());
        } else if let (true, Some(first)) = (name.len() > 2, found.first()) {
            let stem = first.rsplit_once('-').unwrap().0;
            found.push(format!("{stem}{name}"));
        }
    }
    found
}

#[test]
fn every_error_code_is_explained() {
    let source = read("src/model/refusal.rs");
    let codes: BTreeSet<&str> =
        source.lines().filter_map(|line| line.split_once("=> \"")?.1.split('"').next()).collect();
    assert!(codes.len() > 40, "{codes:?}");
    let page = read("docs/troubleshooting.md");
    let table = rows(&page);
    let explained: BTreeSet<&str> = table
        .iter()
        .filter(|row| row.len() == 4 && row.iter().all(|cell| !cell.is_empty()))
        .filter_map(|row| quoted(&row[0]).first().copied())
        .collect();
    assert_eq!(explained, codes);
}

fn commands(command: &Command, path: &str, found: &mut BTreeSet<String>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let path = format!("{path} {}", sub.get_name());
        if !sub.has_subcommands() && !sub.is_hide_set() {
            found.insert(path.clone());
        }
        commands(sub, &path, found);
    }
}

#[test]
fn the_readme_lists_every_command() {
    let mut have = BTreeSet::new();
    commands(&Cli::command(), "mp-proxy", &mut have);
    let readme = read("README.md");
    let mut said = BTreeSet::new();
    for row in rows(&readme) {
        // `mp-proxy account use|show …` stands for two commands.
        for text in quoted(&row[0]).into_iter().filter(|text| text.starts_with("mp-proxy ")) {
            let words = text.split(' ').take_while(|word| {
                word.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '|')
                    && !word.starts_with('-')
            });
            let mut paths = vec![String::new()];
            for word in words {
                paths = paths
                    .iter()
                    .flat_map(|path| {
                        word.split('|').map(move |one| format!("{path} {one}").trim().to_owned())
                    })
                    .collect();
            }
            said.extend(paths);
        }
    }
    assert_eq!(said, have);
}

#[test]
fn the_readme_lists_every_flag_of_serve() {
    let mut cli = Cli::command();
    cli.build();
    let serve = cli.find_subcommand("serve").unwrap();
    let text = read("README.md");
    let table = rows(&text);
    let mut seen = BTreeSet::new();
    for arg in serve.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let Some(long) = arg.get_long() else { continue };
        if ["help", "version"].contains(&long) {
            continue;
        }
        let flag = format!("--{long}");
        let row = table.iter().find(|row| flags(&row[0]).contains(&flag));
        let row = row.unwrap_or_else(|| panic!("README lacks `{flag}`"));
        seen.insert(flag.clone());
        if let (Some(variable), true) = (arg.get_env(), flags(&row[0])[0] == flag) {
            assert_eq!(quoted(&row[1]), [variable.to_str().unwrap()], "{flag}");
        }
        let defaults: Vec<_> =
            arg.get_default_values().iter().map(|v| v.to_str().unwrap()).collect();
        if arg.get_action().takes_values() && !defaults.is_empty() {
            assert_eq!(row[2].trim_matches('`'), defaults.join(","), "{flag}");
        }
    }
    // And no row of that table is about a flag that is gone.
    for row in table.iter().filter(|row| row.len() == 4) {
        for flag in flags(&row[0]) {
            assert!(seen.contains(&flag), "`serve` has no `{flag}`");
        }
    }
}

#[test]
fn every_metric_is_explained() {
    let source = read("src/proxy/observe/metrics.rs");
    let mut have = BTreeSet::new();
    for (call, end) in [("out.counter(", "_total"), ("out.gauge(", ""), ("out.histogram(", "")] {
        for rest in source.split(call).skip(1) {
            let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            have.insert(format!("{}{end}", name.unwrap()));
        }
    }
    assert!(have.len() > 25, "{have:?}");
    let page = read("docs/watching.md");
    let table = rows(&page);
    let names = table.iter().flat_map(|row| quoted(&row[0])).map(str::to_owned);
    assert_eq!(names.collect::<BTreeSet<_>>(), have);
}

#[test]
fn the_example_config_is_read_by_us_and_by_the_reference() {
    let text = read("config/example.toml");
    let home = Home::new(&text).with("CI_MIXPANEL_TOKEN", "t");
    for name in ["team", "ci", "me"] {
        // `me` resolves too; only its tokens are missing.
        let shown = home.run(&["session", "show", "--json", "--account", name]);
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    }
    assert!(home.run(&["session", "show", "--target", "ecom"]).status.success());
    let program = reference::environment().join("bin/mp");
    for args in [&["account", "list"][..], &["target", "show", "ecom"], &["session"]] {
        let output = process::Command::new(&program)
            .args(args)
            .env_clear()
            .env("HOME", home.dir.path())
            .current_dir(home.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // Every key that the readers know is there, commented out or not.
    let keys = config_keys();
    assert!(keys.contains("token_env") && keys.contains("pacer_max_wait"), "{keys:?}");
    for key in keys {
        let shown = text.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.starts_with(&format!("{key} = "))
                || line.contains(&format!("{{ {key} = "))
                || line.contains(&format!(", {key} = "))
        });
        assert!(shown, "`{key}` is not in the example");
    }
}

/// The keys of blocks, as the lists of the readers have them, and those of `[settings]`.
fn config_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for file in ["account_block", "config", "pacer_settings"] {
        let source = read(&format!("src/store/{file}.rs"));
        let code = source.split("#[cfg(test)]").next().unwrap();
        let lists = code.split("&[\"").skip(1).filter_map(|rest| rest.split(']').next());
        for list in lists {
            keys.extend(list.split('"').step_by(2).filter(|key| !key.is_empty()).map(Into::into));
        }
        let settings = code.split("settings.get(\"").skip(1);
        keys.extend(settings.filter_map(|rest| rest.split('"').next()).map(Into::into));
    }
    keys
}

#[test]
fn every_defence_of_the_threat_model_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = read("SECURITY.md");
    let table: Vec<_> = rows(&text).into_iter().filter(|row| row.len() == 3).skip(2).collect();
    assert!(table.len() > 30, "{} rows", table.len());
    for row in &table {
        let named = quoted(&row[2]);
        assert!(!named.is_empty(), "no test: {}", row[0]);
        for name in named {
            let there = match name.split_once("::") {
                Some((file, test)) => {
                    let source = read(&format!("tests/it/{file}.rs"));
                    let before = source.split_once(&format!("fn {test}(")).map(|parts| parts.0);
                    // Its attributes, of which one more may stand between.
                    let lines = before.into_iter().flat_map(|text| text.trim_end().lines().rev());
                    lines.take(2).any(|line| line.trim() == "#[test]")
                }
                None if name.ends_with(".toml") => root.join("tests/raw").join(name).is_file(),
                None if name.ends_with(".rs") => read(name).contains("#[cfg(test)]"),
                None => root.join(name).exists(),
            };
            assert!(there, "`{name}`, of: {}", row[0]);
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let tops = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benches/README.md"];
    let mut count = 0;
    for page in pages.chain(tops.map(|name| root.join(name))) {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: `{link}`", page.display());
            if !anchor.is_empty() {
                let target = fs::read_to_string(&target).unwrap();
                let heads = target.lines().filter(|line| line.starts_with('#'));
                let found = heads.map(|line| {
                    let words = line.trim_start_matches(['#', ' ']).to_lowercase();
                    let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                    kept.collect::<String>().replace(' ', "-")
                });
                assert!(
                    found.into_iter().any(|head| head == anchor),
                    "{}: `{link}`",
                    page.display()
                );
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
