//! A secret as Kubernetes mounts it, `root:fsGroup 0440` behind the links of a volume: who may read
//! it. Real files and real users, so only root can run it.

use crate::support::{CONFIG, Home, not_tested};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    process::Command,
};

/// Our user in the container, and the group of the volume.
const US: u32 = 65532;
const GROUP: u32 = 65533;

#[test]
fn roots_file_is_read_by_a_member_of_its_group_and_by_nobody_else() {
    let home = Home::new("");
    if fs::metadata(home.dir.path()).unwrap().uid() != 0 {
        return not_tested("secrets of root: only root can own a file of root");
    }
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(home.dir.path(), open.clone()).unwrap();
    let program = home.path("mp-proxy");
    fs::copy(env!("CARGO_BIN_EXE_mp-proxy"), &program).unwrap();
    fs::set_permissions(&program, open.clone()).unwrap();
    fs::create_dir(home.path("..2026")).unwrap();
    fs::set_permissions(home.path("..2026"), open).unwrap();
    symlink("..2026", home.path("..data")).unwrap();
    let real = home.path("..2026/config.toml");
    fs::write(&real, CONFIG).unwrap();
    // What it says of the file, as this user in these groups.
    let read = |user: u32, group: u32, others: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user.to_string(), "--regid", &group.to_string()]);
        command.args(if others.is_empty() {
            vec!["--clear-groups"]
        } else {
            vec!["--groups", others]
        });
        command.arg(&program).args(["session", "show", "--json"]).current_dir("/").env_clear();
        let config = home.path("..data/config.toml");
        let output = command.env("MP_CONFIG_PATH", config).env("HOME", "/nonexistent").output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() == said.is_empty(), "{said}");
        said
    };
    let file = |owner: u32, group: u32, mode: u32| {
        chown(&real, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(mode)).unwrap();
    };
    let member = GROUP.to_string();
    for mode in [0o440, 0o640] {
        file(0, GROUP, mode);
        assert_eq!(read(US, US, &member), "", "{mode:o}: the group of the volume");
        assert_eq!(read(US, GROUP, ""), "", "{mode:o}: our own group");
        assert!(read(US, US, "").contains("may not read it"), "{mode:o}: not in the group");
        assert!(read(0, 0, &member).contains("is open to group"), "{mode:o}: as root");
    }
    for mode in [0o460, 0o450, 0o444, 0o441, 0o442] {
        file(0, GROUP, mode);
        let said = read(US, US, &member);
        assert!(said.contains("is open to group or others"), "{mode:o}: {said}");
    }
    for owner in [US, 1000] {
        file(owner, GROUP, 0o440);
        let said = read(US, US, &member);
        assert!(said.contains("is open to group or others"), "of {owner}: {said}");
    }
    // By its link it is refused, whoever owns it.
    file(0, GROUP, 0o440);
    fs::remove_file(home.path("..data")).unwrap();
    fs::create_dir(home.path("..data")).unwrap();
    fs::set_permissions(home.path("..data"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../..2026/config.toml", home.path("..data/config.toml")).unwrap();
    assert!(read(US, US, &member).contains("is a symbolic link"));
}
