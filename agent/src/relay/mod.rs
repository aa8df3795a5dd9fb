//! The public end: lets agents in, keeps their tunnels, and brings visitors to
//! the kites that fly on them.

pub mod authority;
