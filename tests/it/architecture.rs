//! The floors hold: a file imports its own floor and lower ones only.

use std::{fs, path::Path};

const FLOORS: [&str; 7] = ["model", "sys", "store", "auth", "ops", "proxy", "cli"];

fn visit(dir: &Path, seen: &mut usize) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, seen);
        } else if path.extension().is_some_and(|end| end == "rs") {
            check(&path, seen);
        }
    }
}

fn check(path: &Path, seen: &mut usize) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.starts_with("//!"), "{} opens without `//!`", path.display());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let own = path.strip_prefix(root).unwrap().components().next().unwrap();
    let own = own.as_os_str().to_str().unwrap().trim_end_matches(".rs");
    let Some(floor) = FLOORS.iter().position(|name| *name == own) else { return };
    for above in &FLOORS[floor + 1..] {
        assert!(!text.contains(&format!("crate::{above}")), "{} imports `{above}`", path.display());
        let nested = format!("\n    {above}::");
        assert!(!text.contains(&nested), "{} imports `{above}`", path.display());
    }
    *seen += 1;
}

#[test]
fn no_file_imports_an_upper_floor() {
    let mut seen = 0;
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut seen);
    assert!(seen > 20, "only {seen} files were looked at");
}
