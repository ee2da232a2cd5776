//! A session as JSON: the contract of `session show --json` and of `/_mp/session`.
//! Invariant: no secret; custom header values are part of the contract and shown.

use crate::model::{
    origin::{Family, Origin},
    session::Session,
};
use serde_json::{Map, Value, json};

/// The session as one JSON document.
#[must_use]
pub fn session_json(session: &Session) -> Value {
    let account = &session.account;
    let app = Origin::new(Family::App, account.region).host();
    let data = Origin::new(Family::Data, account.region).host();
    let headers: Map<String, Value> = session
        .headers
        .iter()
        .map(|custom| {
            let value = String::from_utf8_lossy(custom.value.as_bytes());
            (custom.spelling.clone(), json!(value))
        })
        .collect();
    let mut sources =
        json!({"account": session.sources.account, "project": session.sources.project});
    if let Some(source) = &session.sources.workspace {
        sources["workspace"] = json!(source);
    }
    json!({
        "account": {
            "name": account.name.as_str(),
            "type": account.type_name(),
            "region": account.region.as_str(),
            "default_project": account.default_project.as_ref().map(|id| id.as_str()),
        },
        "project": session.project.as_str(),
        "workspace": session.workspace.map(|id| id.get()),
        "headers": headers,
        "sources": sources,
        "endpoints": {
            "query": format!("https://{app}/api/query"),
            "export": format!("https://{data}/api/2.0"),
            "engage": format!("https://{app}/api/query/engage"),
            "app": format!("https://{app}/api/app"),
        },
        "warnings": session.warnings,
    })
}
