//! Floor 4, what a person does: the operations behind the commands, for any Rust program.
//! Called by `cli`. Invariant: nothing is printed here; who talks to a person is handed in.
//!
//! The environment is a value, so that a program decides which home and which variables count:
//!
//! ```
//! use mp_proxy::{
//!     auth::resolve::Selection,
//!     model::{account::{Account, Credential}, id::{Name, ProjectId}, region::Region},
//!     ops::{accounts, session, targets},
//!     sys::env::Env,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let home = tempfile::tempdir()?;
//! # let home = home.path();
//! let env = Env::new([("HOME", home.to_str().unwrap())], home);
//! let team = Account {
//!     name: Name::parse("team")?,
//!     region: Region::Eu,
//!     default_project: None,
//!     credential: Credential::ServiceAccount {
//!         username: "reports".into(),
//!         secret: "hunter2".to_string().into(),
//!     },
//! };
//! let summary = accounts::add(&env, &team)?;
//! assert!(summary.is_active, "the first account is");
//!
//! let (shop, project) = (Name::parse("shop")?, ProjectId::parse("123")?);
//! targets::add(&env, &shop, "team", &project, None)?;
//! let refused = accounts::remove(&env, "team", accounts::Force::No, accounts::Purge::No);
//! assert_eq!(refused.unwrap_err().code.as_str(), "ACCOUNT_IN_USE");
//!
//! session::update(&env, &Selection::of_target("shop"))?;
//! assert_eq!(session::show(&env)?.account.as_deref(), Some("team"));
//! assert_eq!(accounts::show(&env, None)?.project_id.as_deref(), Some("123"));
//!
//! // The same files, so the resolver sees what was written.
//! let snapshot = mp_proxy::store::snapshot::load_once(&env);
//! let session = mp_proxy::auth::resolve::resolve(&snapshot, &Selection::default())?;
//! assert_eq!(session.project.as_str(), "123");
//! # Ok(())
//! # }
//! ```

pub mod accounts;
pub mod bridge;
pub mod login;
pub mod persisted;
pub mod reach;
pub mod session;
pub mod targets;
