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

/// For a process that serves: no core file, files for the owner only, and `most` descriptors, or as
/// many as the system allows. Answers with how many those are. All of it reaches the programs that
/// are started after it.
pub fn settle(most: Option<u64>) -> u64 {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core files cannot be forbidden");
    }
    umask(Mode::RWXG | Mode::RWXO);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit { current: Some(allowed(most)).filter(|all| *all != u64::MAX), maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit on descriptors cannot be set");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many descriptors [`settle`] will make of it.
#[must_use]
pub fn allowed(most: Option<u64>) -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    most.map_or(maximum, |most| most.min(maximum))
}

/// A panic is reported by its place and without what it says: that could be made of a secret. In
/// a proxy it ends one connection, in a command the command.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if tracing::dispatcher::has_been_set() {
            tracing::error!(place, "a defect of mp-proxy; please report the place");
        } else {
            eprintln!("mp-proxy: a defect at {place}; please report the place");
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_closed_and_has_all_descriptors() {
        forbid_dumps();
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(allowed(Some(200)), 200.min(hard));
        assert_eq!(settle(Some(200)), 200.min(hard));
        assert_eq!(settle(Some(u64::MAX)), hard, "no more than the system allows");
        assert_eq!(settle(None), hard);
        assert_eq!(getrlimit(Resource::Core).maximum, Some(0));
        assert_eq!(umask(Mode::RWXG | Mode::RWXO), Mode::RWXG | Mode::RWXO);
        #[cfg(target_os = "linux")]
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            rustix::process::DumpableBehavior::NotDumpable
        );
    }
}
