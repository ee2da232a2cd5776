//! A throw-away home with two accounts and a target. Made by the demo command.
//! Invariant: the directory is ours alone (0700) and goes when the value does.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

const CONFIG: &str = r#"[active]
account = "shop"

[accounts.shop]
type = "service_account"
region = "us"
default_project = "1001"
username = "demo.shop"
secret = "not-a-real-secret"

[accounts.analyst]
type = "oauth_token"
region = "eu"
default_project = "2002"
token = "not-a-real-token"

[targets.europe]
account = "analyst"
project = "2002"
workspace = 7
"#;

/// The directory; removed on drop.
#[derive(Debug)]
pub struct DemoHome(PathBuf);

impl DemoHome {
    /// Makes the directory below the system's temporary one, with its config.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn create() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("mp-proxy-demo-{}", std::process::id()));
        // Not recursive: an existing directory is somebody else's and an error.
        DirBuilder::new().mode(0o700).create(&path)?;
        let home = Self(path);
        DirBuilder::new().mode(0o700).create(home.0.join(".mp"))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(home.0.join(".mp/config.toml"))?.write_all(CONFIG.as_bytes())?;
        Ok(home)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for DemoHome {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
