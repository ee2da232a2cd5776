//! Renewed tokens that are not on disk: what a full disk kept from being written, and what another
//! program wrote over. Called by `login` when it reads the files, and by `refresh`.
//! Invariant: only tokens that ours came from are replaced, under the lock.

use super::{keeper::Keeper, login::Login, state::State};
use std::{sync::Arc, time::Duration};

impl<K: Keeper> Login<K> {
    /// Writes what a full disk or another program kept from being written.
    pub(super) fn save_in_background(&self, state: &mut State) {
        let Some(me) = self.me.upgrade().filter(|_| !state.saving) else { return };
        state.saving = true;
        self.parts.handle.spawn(async move {
            for seconds in [1, 5, 25, 125] {
                let again = Arc::clone(&me);
                let _ = tokio::task::spawn_blocking(move || again.save_again()).await;
                if !me.lock().unsaved {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            me.lock().saving = false;
        });
    }

    fn save_again(&self) {
        let Ok(locks) = self.keeper.lock() else { return };
        let mut state = self.lock();
        self.look(&mut state);
        let Some(new) = state.current.as_ref().map(|current| Arc::clone(&current.tokens)) else {
            return;
        };
        if !state.unsaved {
            return;
        }
        // What stands there came before what we hold: `choose` has seen to it.
        let Ok(found) = self.keeper.load() else { return };
        for old in found {
            if self.keeper.save(&locks, &old.tokens, &new).is_err() {
                return;
            }
        }
        self.look(&mut state);
        // All that could be written is.
        state.read_only = state.unsaved;
        state.unsaved = false;
    }
}
