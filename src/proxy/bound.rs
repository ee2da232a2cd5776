//! What the proxy tells of others: nothing to a caller that is bound to a target, nor to whoever
//! shows no token where one is asked for. Called by `health` and `handler`.
//! Invariant: accounts, targets, callers and their requests are named to unbound callers only.

use super::health;
use crate::model::{
    caller::Caller,
    refusal::{Code, Refusal},
};

/// Of our own endpoints, a bound caller is shown those that say nothing of others: the probes, and
/// as whom it is sent.
///
/// # Errors
/// `POLICY_DENIED` for any other path.
pub fn may_look(caller: &Caller, path: &str) -> Result<(), Refusal> {
    let Some(target) = &caller.target else { return Ok(()) };
    if path == "/_mp/session" || health::is_public(path) {
        return Ok(());
    }
    let name = &caller.name;
    let message =
        format!("`{path}` shows others, and caller `{name}` is bound to target `{target}`");
    Err(Refusal::new(Code::PolicyDenied, message).hint(
        "read /_mp/session for your own session, or use the token of a caller without `target`",
    ))
}

/// Why its target does not resolve, without what else is configured.
#[must_use]
pub fn for_caller(caller: &Caller, refusal: Refusal) -> Refusal {
    match &caller.target {
        Some(target) => refusal.hint(format!(
            "tell whoever runs the proxy to run: mp-proxy session show --target {target}"
        )),
        None => refusal,
    }
}

/// Why the proxy is not ready, without what is configured.
#[must_use]
pub fn for_anybody(refusal: &Refusal) -> Refusal {
    if refusal.code == Code::Draining {
        return refusal.clone();
    }
    let bare = Refusal::new(refusal.code, "no session resolves")
        .hint("run: mp-proxy session show, or read /_mp/session with a caller token");
    Refusal { reason: refusal.reason, ..bare }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bound_caller_is_kept_from_looking() {
        let free = Caller::named("free");
        let bound = Caller { target: Some("ecom".into()), ..Caller::named("b") };
        for path in ["/_mp/overview", "/_mp/events", "/_mp/", "/_mp/session/", "/_mp/sessions"] {
            assert_eq!(may_look(&free, path), Ok(()), "{path}");
            assert_eq!(may_look(&bound, path).unwrap_err().code, Code::PolicyDenied, "{path}");
        }
        for path in ["/_mp/session", "/_mp/readyz", "/healthz"] {
            assert_eq!(may_look(&bound, path), Ok(()), "{path}");
        }
        let refusal = || Refusal::config("x").hint("configured accounts: `a`, `b`");
        assert_eq!(for_caller(&free, refusal()), refusal());
        assert!(!for_caller(&bound, refusal()).hint.unwrap().contains("`a`"));
        assert!(!format!("{:?}", for_anybody(&refusal())).contains("`a`"));
        let draining = Refusal::new(Code::Draining, "x");
        assert_eq!(for_anybody(&draining), draining);
    }
}
