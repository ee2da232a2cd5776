//! A grant that `/me` accepted, and the browser that waits to hear of it. Called by `ops::login`.
//! Invariants: the browser has its page before anybody is asked anything on the terminal; it is
//! told of success only once all is written.

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

impl Fresh {
    /// The tokens, on no disk yet.
    pub(super) const fn tokens(&self) -> &Tokens {
        &self.granted.tokens
    }

    /// Tells the browser how it ended.
    pub(super) async fn show<T>(self, outcome: Result<T, Refusal>) -> Result<(Self, T), Refusal> {
        let page = match &outcome {
            Ok(_) => Page::Done(self.me.user_email.clone()),
            Err(refusal) => Page::failed(refusal),
        };
        Ok((self.turn(page).await, outcome?))
    }

    /// Sends the browser's page; a second one goes nowhere.
    pub(super) async fn turn(mut self, page: Page) -> Self {
        if let Some(waiting) = self.granted.page.take() {
            waiting.finish(page).await;
        }
        self
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
            if let Some(waiting) = granted.page {
                waiting.finish(Page::failed(&refusal)).await;
            }
            Err(refusal)
        }
    }
}
