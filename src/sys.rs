//! Floor 1, the machine: environment, clock and credential files on disk.
//! Only `store`, `auth`, `cli` and the server call it. Knows nothing of Mixpanel.

pub mod append_file;
pub mod clock;
pub mod env;
pub mod hardening;
pub mod http;
pub mod http_error;
pub mod locked_file;
pub mod open_file;
pub mod private_file;
pub mod run_file;
pub mod unix_socket;
pub mod watch;
