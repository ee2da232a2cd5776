//! `accounts/NAME/me.json`, what `/me` said within the last day, in the reference's format.
//! Called by `auth/me.rs`.
//! Invariants: an entry counts only for the credential and the region that fetched it (quirk T7);
//! a cache that is missing, old, unsafe or broken is no error, it is just not there.

use super::me_json::{self, Extras};
use crate::{
    model::{id::Name, me::Me, region::Region},
    sys::{
        clock,
        env::Env,
        locked_file::LockedFile,
        private_file::{self, PrivateFileError},
    },
};
use serde_json::{Map, Value};
use std::{path::PathBuf, time::Duration};

/// How long an entry counts, in seconds.
pub const TTL_SECONDS: f64 = 86_400.0;
/// How long to wait for another program that is writing the same entry.
const WAIT: Duration = Duration::from_secs(5);
/// Our own keys; the reference keeps unknown ones and looks at none of them.
const REGION: &str = "cached_region";
const CREDENTIAL: &str = "mp_proxy_credential";
const AT: &str = "cached_at";

/// The entry of one account.
#[derive(Debug, Clone)]
pub struct MeCache {
    path: Option<PathBuf>,
    home: Option<PathBuf>,
    region: Region,
    credential: String,
}

impl MeCache {
    /// The entry of `account` for the credential with this fingerprint. It moves with
    /// `MP_STORAGE_DIR` (quirk T5).
    #[must_use]
    pub fn new(env: &Env, account: &Name, region: Region, credential: &str) -> Self {
        Self {
            path: env
                .storage_root()
                .map(|root| root.join("accounts").join(account.as_str()).join("me.json")),
            home: env.home().map(Into::into),
            region,
            credential: credential.into(),
        }
    }

    /// The entry, if it is fresh and this credential's own.
    #[must_use]
    pub fn get(&self) -> Option<Me> {
        let bytes = private_file::read(self.path.as_deref()?, self.home.as_deref()).ok()??;
        let mut me = me_json::parse(bytes.as_slice()).ok()?.me;
        let age = seconds() - me.extra.remove(AT)?.as_f64()?;
        let mut own = |key, wanted: &str| {
            me.extra.remove(key).is_some_and(|value| value.as_str() == Some(wanted))
        };
        let ours = own(CREDENTIAL, &self.credential) & own(REGION, self.region.as_str());
        // An entry from the future was written under a wrong clock.
        (ours && (-60.0..=TTL_SECONDS).contains(&age)).then_some(me)
    }

    /// Writes the entry; says whether there is one now. What the reference would refuse to read
    /// for its length is not kept, and an older entry goes.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub fn put(&self, me: &Me) -> Result<Kept, PrivateFileError> {
        let Some(path) = &self.path else { return Ok(Kept::No) };
        let file = LockedFile::acquire(path, self.home.as_deref(), WAIT)?;
        for extras in [Extras::Kept, Extras::Dropped] {
            let bytes = me_json::write(me, extras, &self.own_keys());
            if bytes.len() as u64 <= private_file::MAX_BYTES {
                file.write(&bytes)?;
                return Ok(Kept::Yes);
            }
        }
        file.remove()?;
        Ok(Kept::No)
    }

    /// They stand first, so that they are read before any budget of the reader is spent.
    fn own_keys(&self) -> Map<String, Value> {
        let own = [
            (AT, Value::from(seconds())),
            (REGION, self.region.as_str().into()),
            (CREDENTIAL, self.credential.as_str().into()),
        ];
        own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// Whether an answer is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    Yes,
    /// It is too long, or there is no place for it.
    No,
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit a float's mantissa")]
fn seconds() -> f64 {
    clock::now_micros() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        id::{ProjectId, WorkspaceId},
        me::Workspace,
    };
    use std::fs;

    fn cache(env: &Env, region: Region, credential: &str) -> MeCache {
        MeCache::new(env, &Name::parse("a").unwrap(), region, credential)
    }

    fn me(workspaces: i64) -> Me {
        let workspaces = (1..=workspaces).map(|id| Workspace {
            id: WorkspaceId::try_from(id).unwrap(),
            name: "w".repeat(50),
            project_id: ProjectId::parse("5").unwrap(),
            is_default: None,
            is_global: None,
            is_visible: None,
            extra: Map::new(),
        });
        Me { user_id: Some(7), workspaces: workspaces.collect(), ..Me::default() }
    }

    #[test]
    fn an_entry_counts_a_day_for_one_credential_in_one_region() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("elsewhere");
        let env = Env::new(
            [("HOME", dir.path().to_str().unwrap()), ("MP_STORAGE_DIR", store.to_str().unwrap())],
            dir.path(),
        );
        let own = cache(&env, Region::Us, "f1");
        assert_eq!(own.get(), None);
        assert_eq!(own.put(&me(2)), Ok(Kept::Yes));
        assert_eq!(own.get(), Some(me(2)));
        assert_eq!(cache(&env, Region::Us, "f2").get(), None, "another credential's entry");
        assert_eq!(cache(&env, Region::Eu, "f1").get(), None, "another region's entry");
        let path = store.join("accounts/a/me.json");
        let text = fs::read_to_string(&path).unwrap();
        for (age, counts) in [(86_300.0, true), (86_500.0, false), (-3_600.0, false)] {
            let mut value: Value = serde_json::from_str(&text).unwrap();
            value[AT] = (seconds() - age).into();
            fs::write(&path, value.to_string()).unwrap();
            assert_eq!(own.get().is_some(), counts, "{age}");
        }
        let mut theirs: Value = serde_json::from_str(&text).unwrap();
        theirs.as_object_mut().unwrap().remove(CREDENTIAL);
        fs::write(&path, theirs.to_string()).unwrap();
        assert_eq!(own.get(), None, "an entry of nobody known");
        fs::write(&path, "{").unwrap();
        assert_eq!(own.get(), None);
    }

    #[test]
    fn an_entry_that_nobody_would_read_is_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::new([("HOME", dir.path().to_str().unwrap())], dir.path());
        let own = cache(&env, Region::Us, "f");
        assert_eq!(own.put(&me(3)), Ok(Kept::Yes));
        assert_eq!(own.put(&me(20_000)), Ok(Kept::No));
        assert!(!dir.path().join(".mp/accounts/a/me.json").exists());
    }
}
