//! A grant that `/me` accepted, and the browser that waits to hear of it. Called by `ops::login`.
//! Invariant: the browser has its page before anybody is asked anything on the terminal.

use super::{Doors, book::Book, who::unknown};
use crate::{
    auth::{
        credential::Authorization,
        me::{self, MeError},
        oauth::{
            login::{Attempt, Granted, login},
            page::Page,
        },
    },
    model::{
        id::Name,
        me::Me,
        refusal::{Code, Refusal},
        region::Region,
        tokens::Tokens,
    },
};

/// A grant that `/me` accepted; the browser still waits.
pub(super) struct Fresh {
    granted: Granted,
    /// Who it is.
    pub(super) me: Me,
}

/// The same when the browser has its page.
pub(super) struct Shown {
    /// The tokens, on no disk yet.
    pub(super) tokens: Tokens,
    /// Who it is.
    pub(super) me: Me,
}

impl Fresh {
    /// Tells the browser how it went so far.
    pub(super) async fn show<T>(self, outcome: Result<T, Refusal>) -> Result<(Shown, T), Refusal> {
        let Granted { tokens, page } = self.granted;
        page.finish(match &outcome {
            Ok(_) => Page::Done(self.me.user_email.clone()),
            Err(refusal) => Page::failed(refusal),
        })
        .await;
        Ok((Shown { tokens, me: self.me }, outcome?))
    }
}

/// Logs in with the browser and asks `/me` with what came of it.
pub(super) async fn browser(
    doors: Doors<'_>,
    book: &Book<'_>,
    region: Region,
    account: Option<&Name>,
    again: &str,
) -> Result<Fresh, Refusal> {
    let attempt = Attempt {
        env: doors.env,
        http: doors.http,
        region,
        account,
        region_of: &|name| book.region_of(name),
        timeout: doors.timeout,
    };
    let granted = login(&attempt, doors.person).await?;
    doors.person.progress("asking Mixpanel who this is");
    let asked = match Authorization::bearer(&granted.tokens.access_token) {
        Some(authorization) => {
            me::fetch(doors.http, region, &authorization, book.headers(), me::WITHIN).await
        }
        None => Err(MeError::NotMe),
    };
    match asked {
        Ok(me) => Ok(Fresh { granted, me }),
        Err(error) => {
            let refusal = unknown(&error, Code::OauthTokenError, Code::OauthTokenError, again);
            granted.page.finish(Page::failed(&refusal)).await;
            Err(refusal)
        }
    }
}
