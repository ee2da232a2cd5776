//! The tests that `docs/oauth.md` names are there.

use std::{fs, path::Path};

fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_rfc_point_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/oauth.md")).unwrap();
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests/it"), &mut code);
    let tables = page.split("## RFC 8252").nth(1).unwrap();
    let mut named = 0;
    for row in tables.lines().filter(|line| line.starts_with("| ")) {
        let cell = row.trim_end_matches(" |").rsplit('|').next().unwrap();
        for test in cell.split('`').skip(1).step_by(2) {
            let name = test.rsplit("::").next().unwrap();
            if name.contains('_') {
                assert!(code.contains(&format!("fn {name}()")), "no test `{test}`");
                named += 1;
            }
        }
    }
    assert!(named > 15, "only {named} tests are named");
}
