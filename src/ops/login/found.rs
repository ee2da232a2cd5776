//! What Mixpanel says of a credential that is not configured yet: its region, and a name for its
//! account. Called by `account add`. Invariant: nothing is written.

use super::{Doors, authorization, book::Book, identify, naming, region as regions};
use crate::model::{account::Credential, id::Name, refusal::Refusal, region::Region};

/// The first region that accepts the credential.
///
/// # Errors
/// As [`regions::probe`] and [`Book::open`]; `CONFIG_ERROR` for a credential that cannot be sent.
pub async fn region(doors: Doors<'_>, credential: &Credential) -> Result<Region, Refusal> {
    let authorization = authorization(credential, doors.env)?;
    let book = Book::open(doors.env)?;
    regions::probe(doors.http, &authorization, book.headers(), doors.person).await
}

/// A free name, made of the first organization's.
///
/// # Errors
/// `AUTH_FAILED` if `/me` does not accept the credential; `CONFIG_ERROR` if no name is left.
pub async fn name(
    doors: Doors<'_>,
    credential: &Credential,
    region: Region,
) -> Result<Name, Refusal> {
    let authorization = authorization(credential, doors.env)?;
    let book = Book::open(doors.env)?;
    let me = identify(doors, &book, region, &authorization, "mp-proxy account add").await?;
    naming::default_name(&me, &book.names()).ok_or_else(|| {
        Refusal::config("no account name is left").hint("name it: mp-proxy account add NAME")
    })
}
