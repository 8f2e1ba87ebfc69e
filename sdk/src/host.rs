//! Where log lines and metrics go: to the broker from the guest, to whoever captures them (the test driver) natively, and
//! to standard error when nobody does.

use crate::log::Level;

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::guest::{add, set, write};

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{Captured, add, capture, set, write};

/// A line without the guest's severity type, natively as in the guest.
pub(crate) type Line<'a> = (Level, &'a str);

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::Line;
    use crate::log::Level;

    /// What a plugin said while it ran.
    #[derive(Debug, Default)]
    pub(crate) struct Captured {
        pub(crate) lines: Vec<(Level, String)>,
        pub(crate) counters: BTreeMap<String, u64>,
        pub(crate) gauges: BTreeMap<String, f64>,
    }

    thread_local! {
        static CAPTURED: RefCell<Option<Captured>> = const { RefCell::new(None) };
    }

    /// Runs `f` and adds what it says to `captured`, also when it panics: a test may want to see the lines before that.
    pub(crate) fn capture<T>(captured: &mut Captured, f: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a mut Captured);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                *self.0 = CAPTURED.take().unwrap_or_default();
            }
        }
        CAPTURED.set(Some(std::mem::take(captured)));
        let _restore = Restore(captured);
        f()
    }

    fn with(seen: impl FnOnce(&mut Captured), unseen: impl FnOnce()) {
        CAPTURED.with_borrow_mut(|captured| match captured {
            Some(captured) => seen(captured),
            None => unseen(),
        });
    }

    pub(crate) fn write((level, message): Line<'_>) {
        with(|seen| seen.lines.push((level, message.to_owned())), || eprintln!("{level}: {message}"));
    }

    pub(crate) fn add(name: &str, delta: u64) {
        with(
            |seen| {
                let counter = seen.counters.entry(name.to_owned()).or_default();
                *counter = counter.saturating_add(delta);
            },
            || {},
        );
    }

    pub(crate) fn set(name: &str, value: f64) {
        with(
            |seen| {
                seen.gauges.insert(name.to_owned(), value);
            },
            || {},
        );
    }
}
