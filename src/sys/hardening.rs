//! What the process asks of the system so that its secrets stay in it, and how many descriptors
//! it may have. Called once by `cli`, before anything else.
//! Invariant: what the system refuses is no reason not to start; it is reported instead.

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

/// Nobody but root may read our memory or attach to us, and there is no core dump. It does not
/// reach the programs that we start.
pub fn forbid_dumps() {
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "other programs of this user may read our memory");
    }
}

/// For a process that starts no other: no core file, files for the owner only, as many
/// descriptors as the system allows. Answers with how many those are.
pub fn settle() -> u64 {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core files cannot be forbidden");
    }
    umask(Mode::RWXG | Mode::RWXO);
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on descriptors cannot be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A panic kills its connection only, and is reported without what it says: that could be made
/// of a secret.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect of mp-proxy ended a connection; please report the place");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_closed_and_has_all_descriptors() {
        forbid_dumps();
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(settle(), hard);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
        assert_eq!(umask(Mode::RWXG | Mode::RWXO), Mode::RWXG | Mode::RWXO);
        #[cfg(target_os = "linux")]
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            rustix::process::DumpableBehavior::NotDumpable
        );
    }
}
