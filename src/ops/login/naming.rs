//! The account name that a login makes up from `/me`. Called by `ops::login`.
//! Invariant: the name is valid and not among those that are taken.

use crate::model::{id::Name, me::Me};
use unicode_normalization::UnicodeNormalization as _;

/// Leaves room below the 64 of a name for the numbers of collisions.
const LONGEST: usize = 32;

/// The slug of the first organization's name, `org-ID` if nothing of it is left, `account` if
/// there is none; `-2`, `-3`, … until it is free. `None` only if no number is left.
#[must_use]
pub fn default_name(me: &Me, taken: &[&str]) -> Option<Name> {
    let base = match me.organizations.first() {
        None => "account".to_owned(),
        Some(first) => match slug(&first.name) {
            empty if empty.is_empty() => format!("org-{}", first.id),
            slug => slug,
        },
    };
    let numbered = (2_u64..).map(|number| format!("{base}-{number}"));
    let free = std::iter::once(base.clone()).chain(numbered).find(|n| !taken.contains(&n.as_str()));
    Name::parse(&free?).ok()
}

/// NFKD, ASCII, lower case, every other run one `-`, at most 32 characters, no `-` at the ends.
fn slug(text: &str) -> String {
    let folded = text.nfkd().filter(char::is_ascii).map(|letter| letter.to_ascii_lowercase());
    let mut slug = String::new();
    for letter in folded {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(LONGEST);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::me::Organization;
    use serde_json::Map;

    fn named(name: &str) -> Me {
        let first = Organization { id: 77, name: name.into(), extra: Map::new() };
        Me { organizations: vec![first], ..Me::default() }
    }

    #[test]
    fn names_are_slugs_that_are_free() {
        for (name, wanted) in [
            ("Acme Corp", "acme-corp"),
            ("Café Industries", "cafe-industries"),
            ("  Acme  &  Sons ", "acme-sons"),
            ("ﬁne ＡＢＣ", "fine-abc"),
            ("---", "org-77"),
            ("日本", "org-77"),
            ("", "org-77"),
            (&"a".repeat(40), &"a".repeat(32)),
            (&format!("{} b", "a".repeat(31)), &"a".repeat(31)),
        ] {
            assert_eq!(default_name(&named(name), &[]).unwrap().as_str(), wanted, "{name}");
        }
        assert_eq!(default_name(&Me::default(), &["account"]).unwrap().as_str(), "account-2");
        let third = default_name(&named("Acme"), &["acme", "acme-2"]).unwrap();
        assert_eq!(third.as_str(), "acme-3");
    }
}
