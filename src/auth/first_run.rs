//! The ways to a first account, with the commands to run. Called by the resolver where nothing is
//! configured, and by `account list`. Invariant: each command can be run as it stands, once its
//! capitals and dots are filled in.

/// What the way is for, and the command.
const WAYS: [(&str, &str); 5] = [
    ("log in with the browser", "mp-proxy login"),
    (
        "add a service account (asks for its secret)",
        "mp-proxy account add NAME --type service_account --region us --username USER --project ID",
    ),
    (
        "a service account, from the environment",
        "export MP_USERNAME=… MP_SECRET=… MP_PROJECT_ID=… MP_REGION=us",
    ),
    ("a token, from the environment", "export MP_OAUTH_TOKEN=… MP_PROJECT_ID=… MP_REGION=us"),
    ("see it work without any account", "mp-proxy demo"),
];

/// The ways, one a line, for people.
#[must_use]
pub fn text() -> String {
    let lines = WAYS.map(|(what, command)| format!("\n  {command}\n      {what}"));
    format!("No account yet. Ways to get started:{}", lines.concat())
}

/// The ways in one line, for a hint.
#[must_use]
pub fn hint() -> String {
    format!("run one of: {}", WAYS.map(|(_, command)| format!("`{command}`")).join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_told_at_length_and_in_short() {
        let (text, hint) = (text(), hint());
        assert!(text.starts_with("No account yet. "), "{text}");
        assert!(hint.starts_with("run one of: `mp-proxy login`, `"), "{hint}");
        for (what, command) in WAYS {
            assert!(text.contains(&format!("\n  {command}\n      {what}")), "{text}");
            assert!(hint.contains(&format!("`{command}`")), "{hint}");
        }
    }
}
