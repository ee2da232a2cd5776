//! Floor 4, what a person does: the operations behind the commands, for any Rust program.
//! Called by `cli`. Invariant: nothing is printed here; who talks to a person is handed in.

pub mod login;
