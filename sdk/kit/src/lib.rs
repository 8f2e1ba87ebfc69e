//! The author's loop that needs no broker: [`scaffold`] writes a new plugin's crate, [`build()`] makes a component of it.
//!
//! `sluice plugin new` and `sluice plugin build` are these two functions with arguments in front; `make plugins` calls the
//! second through this crate's own small binary, so that the first-party plugins are built before, and without, the broker.
//!
//! In reading order: [`scaffold`], [`Compiler`] (which compiler makes the guest, and how one gets onto the machine),
//! [`build()`], [`componentise`].

#![forbid(unsafe_code)]

mod build;
mod compiler;
mod component;
mod scaffold;

pub use build::{BuildError, Built, build};
pub use compiler::{Compiler, CompilerMissing};
pub use component::{COMPONENT_BYTES_MAX, Component, ComponentError, componentise};
pub use scaffold::{NameError, Scaffold, ScaffoldError, check_name, scaffold};
