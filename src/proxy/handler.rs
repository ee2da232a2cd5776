//! The corridor: the whole walk of a request in one function. Called by `server`.
//! Invariant: each step takes what only the step before can make; any refusal is answered
//! in one place.

use super::{
    audit::Audit,
    body::{Progress, RequestBody, ResponseBody},
    bound, callers,
    destination::Destination,
    error::broken_upload,
    forward::{self, Repeat},
    guard, health, inspector,
    listener::Door,
    observe::record::{Observed, Record},
    overrides, pace,
    policy::{self, Subject},
    replay::Replay,
    respond::{self, Named},
    rewrite,
    route::{self, Route},
    share::{Asking, Turn, key::Key},
    tilde,
    worker::Worker,
};
use crate::{
    auth::{ready::ReadySession, switch::Switch},
    model::{
        origin::{Family, Origin},
        refusal::{Code, Refusal},
    },
};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, request::Parts, uri};
use hyper::body::Incoming;
use std::{convert::Infallible, mem, sync::Arc, time::Instant};

impl Worker {
    /// Answers one request. Its record goes with the body of the answer, whose end counts and
    /// logs it.
    pub fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        door: Door,
    ) -> impl Future<Output = Result<Response<Observed>, Infallible>> {
        // Taken apart out here: an `async fn` would keep what it is given twice, and this future
        // is moved for each request.
        let (mut parts, body) = request.into_parts();
        async move {
            let mut record = Record::begin(&self.recorder, &parts);
            let named = if parts.headers.keys().any(overrides::is_switch) {
                Named::ByRequest
            } else {
                Named::Base
            };
            let page = inspector::is_page(parts.uri.path(), &parts.headers);
            let response = match self.walk(&mut parts, body, door, named, &mut record).await {
                Ok(response) => response,
                Err(refusal) => {
                    record.refused(&refusal);
                    let answer = respond::refuse(&refusal, named);
                    match refusal.code {
                        Code::CallerUnknown if page => inspector::closed(answer),
                        _ => answer,
                    }
                }
            };
            Ok(record.follow(response))
        }
    }

    async fn walk(
        &self,
        parts: &mut Parts,
        body: Incoming,
        door: Door,
        named: Named,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let proxy = &*self.proxy;
        // First of all: nothing is done for a caller who may be a web page.
        guard::admit(parts, proxy.doors.hosts(door))?;
        if health::is_own(parts.uri.path()) {
            record.endpoint();
        }
        if parts.method == Method::OPTIONS {
            return Ok(respond::options());
        }
        // Probes have no token, and these say nothing of anybody.
        if health::is_public(parts.uri.path()) {
            return health::answer(proxy, parts, &proxy.callers.anybody());
        }
        // Before all else that tells or costs something: whose request is it.
        let caller = proxy.callers.identify(&mut parts.headers)?;
        record.caller(&caller.name);
        if health::is_own(parts.uri.path()) {
            return health::answer(proxy, parts, &caller);
        }
        // Before anything is read for it: how much this caller has already.
        record.slot(self.in_flight.enter(&caller.name, proxy.limits.requests)?);
        guard::no_loop(&parts.headers)?;
        // Nothing is done that cannot be put on record, where that is asked for.
        proxy.governance.audit.as_deref().map_or(Ok(()), Audit::admit)?;
        // Who: one snapshot for the whole request, so that it never sees half of two.
        let wanted = match named {
            Named::ByRequest => overrides::parse(&parts.headers)?,
            Named::Base => Switch::default(),
        };
        let wanted = callers::bind(&caller, wanted)?;
        // Where: an unroutable path is refused before a secret is read.
        let route = route::find(parts.uri.path())?;
        record.route(route);
        let (snapshot, ready) = self
            .session(&wanted, record.started())
            .map_err(|refusal| bound::for_caller(&caller, refusal))?;
        record.session(&ready);
        let scope = callers::scope(&caller, &ready.session, &wanted)?;
        // May they: judged by what would be sent, before anything of it is made.
        let rules = proxy.governance.policy.current();
        let progress = Progress::of(&body);
        let body = RequestBody::begin(body, proxy.timeouts.idle, progress.clone())
            .await
            .map_err(|error| broken_upload(&error))?;
        let body = {
            let subject = Subject {
                method: &parts.method,
                uri: &parts.uri,
                headers: &parts.headers,
                route,
                session: &ready.session,
                wanted: &wanted,
                base: &proxy.base,
                snapshot: &snapshot,
                client_authorization: proxy.client_authorization,
                access: caller.access,
            };
            policy::pass(&callers::rules(&caller, &ready.session, &rules.sets), &subject, body)
                .await?
        };
        // Which ids: a path may leave them to the session, which policy has judged by now; it can
        // take a call to `/me`, which nobody may cause who is not allowed to.
        if let Some(stands) = tilde::find(parts.uri.path()) {
            // Boxed, here and below, what is large and rare: the walk itself stays small.
            let fill = tilde::fill(stands, &parts.uri, &ready.session, proxy);
            parts.uri = Box::pin(fill).await?;
        }
        let target = rewrite::path_and_query(&parts.uri, route, &ready, &scope)
            .map_err(|refusal| callers::out_of_scope(&caller, refusal))?;
        let destination =
            proxy.destinations.get(Origin::new(route.family, ready.session.account.region));
        // What proves it: the last step that can refuse, since a token may have to be read.
        let authorization = match route.scheme {
            None => None,
            Some(scheme) => Some(ready.authorization(scheme).await?),
        };
        rewrite::request_headers(
            &mut parts.headers,
            parts.version,
            &ready.session,
            authorization.as_ref(),
            proxy.client_authorization,
        )?;
        // Has somebody asked already: before it is counted, as a call that is saved costs nothing.
        let key = || Key::of(&ready.resolved, destination.index, target.as_str(), &parts.headers);
        let share = &proxy.governance.share;
        let mut asking = Asking::Alone(None);
        if share.is_on() {
            let turn = share.turn(&parts.method, &parts.uri, &parts.headers, &body, key);
            match Box::pin(turn).await? {
                Turn::Asks(how) => asking = how,
                Turn::Answered(mut response) => {
                    record.shared();
                    say_who(&mut response, &ready);
                    return Ok(response);
                }
            }
        }
        // Is there room: after all that can refuse, so that nothing is counted that is not sent.
        let pacer = &proxy.governance.pacer;
        let counted = pace::counted(
            pacer,
            route,
            &parts.uri,
            &body,
            destination,
            &ready.session,
            &caller.name,
        );
        let mut permit = None;
        if let Some(counted) = counted {
            let since = Instant::now();
            let admitted = Box::pin(pacer.admit(counted)).await;
            record.held(since.elapsed());
            permit = admitted?;
        }
        if let Some(permit) = &mut permit {
            permit.sent();
        }
        record.sent(&progress);
        let repeat = repeat(&parts.method, route);
        let send = |request| {
            forward::send(&self.pool, &proxy.timeouts, destination, request, &progress, repeat)
        };
        let (mut shown, replay);
        // Made in place: what has a name here would be kept while the answer is waited for.
        let mut sent = send({
            let request = address(parts, body, destination, target);
            shown = credential_of(&request);
            replay = Replay::of(&request, authorization, proxy.client_authorization);
            request
        })
        .await;
        // A token can be good by the clock and dead at the server: once, and only what is whole.
        if let Some(replay) = replay
            && sent.as_ref().is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED)
        {
            let again = async {
                if let Some(request) = replay.renewed(ready.login.as_deref()).await {
                    shown = credential_of(&request);
                    sent = send(request).await;
                }
            };
            Box::pin(again).await;
        }
        clean(&mut sent, shown.as_ref());
        if let Some(permit) = permit {
            sent = pace::outcome(permit, sent);
        }
        if sent.is_ok() {
            record.answered();
        }
        if !matches!(asking, Asking::Alone(None)) {
            sent = Box::pin(asking.outcome(sent)).await;
        }
        if let Ok(answer) = &mut sent {
            say_who(answer, &ready);
        }
        sent
    }
}

/// For a stand-in: which of Mixpanel's hosts was meant.
const ORIGIN: header::HeaderName = header::HeaderName::from_static("x-mp-proxy-origin");
const RESOLVED: header::HeaderName = header::HeaderName::from_static("x-mp-resolved");

/// Tells the caller as whom the request went, and the log what the environment overruled.
fn say_who(response: &mut Response<ResponseBody>, ready: &ReadySession) {
    response.headers_mut().insert(RESOLVED, ready.resolved.clone());
    for variable in &ready.session.overruled {
        tracing::warn!(variable, "the environment overruled a header of the request");
    }
}

/// What a request is sent as.
fn credential_of(request: &Request<RequestBody>) -> Option<HeaderValue> {
    request.headers().get(header::AUTHORIZATION).cloned()
}

/// Makes the upstream's answer ours.
fn clean(sent: &mut Result<Response<ResponseBody>, Refusal>, shown: Option<&HeaderValue>) {
    let Ok(answer) = sent else { return };
    // SECURITY: whatever stands there, the caller must not learn the credential from it.
    match rewrite::no_echo(answer.headers(), shown) {
        Ok(()) => {
            let received = answer.version();
            rewrite::response_headers(answer.headers_mut(), received);
        }
        Err(refusal) => *sent = Err(refusal),
    }
}

/// The request for the host of the table, or for the stand-in for all of them.
fn address(
    parts: &mut Parts,
    body: RequestBody,
    destination: &Destination,
    target: uri::PathAndQuery,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = mem::take(&mut parts.method);
    *request.uri_mut() = Uri::from(target);
    let headers = request.headers_mut();
    *headers = mem::take(&mut parts.headers);
    headers.insert(header::HOST, destination.host_header.clone());
    if let Some(origin) = &destination.origin_header {
        headers.insert(ORIGIN, origin.clone());
    }
    request
}

/// RFC 9110 §9.2.2; but an export that is started twice is counted twice (60 an hour).
fn repeat(method: &Method, route: &Route) -> Repeat {
    if method.is_idempotent() && route.family != Family::Data {
        Repeat::Allowed
    } else {
        Repeat::Unsent
    }
}
