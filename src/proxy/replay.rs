//! The one request more after the server rejected a token that was good by the clock. Called by
//! `handler`. Invariant: a request is replayed once, whole, and under another token than before.

use super::{body::RequestBody, forward, rewrite::ClientAuthorization};
use crate::auth::{
    credential::{self, Authorization},
    token_resolver::TokenResolver,
};
use http::{Request, header};

/// A request that can be sent once more, under another token.
pub struct Replay {
    request: Request<RequestBody>,
    rejected: Authorization,
}

impl Replay {
    /// Kept only where there can be another token, and where it was ours that is sent.
    #[must_use]
    pub fn of(
        request: &Request<RequestBody>,
        authorization: Option<Authorization>,
        policy: ClientAuthorization,
    ) -> Option<Box<Self>> {
        let rejected = authorization.filter(Authorization::is_renewable)?;
        let sent = request.headers().get(header::AUTHORIZATION) == Some(rejected.value());
        if policy == ClientAuthorization::Pass && !sent {
            return None;
        }
        // Boxed: it is large, and few requests have one.
        Some(Box::new(Self { request: forward::again(request)?, rejected }))
    }

    /// The request to send in place of one that was answered with 401; `None` leaves the caller
    /// with the server's answer.
    pub async fn renewed(
        mut self: Box<Self>,
        login: Option<&dyn TokenResolver>,
    ) -> Option<Request<RequestBody>> {
        match credential::replace(login, &self.rejected).await {
            Ok(other) => {
                let value = other?.value().clone();
                self.request.headers_mut().insert(header::AUTHORIZATION, value);
                Some(self.request)
            }
            Err(refusal) => {
                let code = refusal.code.as_str();
                tracing::warn!(code, "no token in place of a rejected one: {refusal}");
                None
            }
        }
    }
}
