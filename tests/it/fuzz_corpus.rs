//! The kept corpus of `fuzz/`, through the same functions that the fuzzer calls, and every input
//! cut and bent in simple ways.

use std::{collections::BTreeSet, fs, path::Path};

#[path = "../../fuzz/targets.rs"]
mod targets;

#[test]
fn every_kept_input_passes_its_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut known = BTreeSet::new();
    for (name, target) in targets::TARGETS {
        known.insert(name.to_owned());
        let binary = fuzz.join("fuzz_targets").join(format!("{name}.rs"));
        assert!(binary.is_file(), "`{name}` has no fuzz target");
        let inputs: Vec<_> = fs::read_dir(fuzz.join("corpus").join(name)).unwrap().collect();
        assert!(inputs.len() >= 3, "the corpus of `{name}` is too small");
        for input in inputs {
            let bytes = fs::read(input.unwrap().path()).unwrap();
            target(&bytes);
            for at in 0..bytes.len().min(2000) {
                target(&bytes[..at]);
                let mut bent = bytes.clone();
                bent[at] ^= 0x20;
                target(&bent);
                bent[at] = b'"';
                target(&bent);
            }
        }
    }
    for entry in fs::read_dir(fuzz.join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "a corpus without a target: {name}");
    }
}
