//! The first-party plugins, as the components that were there when this binary was built (`build.rs`).
//!
//! They are pushed as any plugin is, through the admin API or the registry: being inside the binary gives them nothing.

include!(concat!(env!("OUT_DIR"), "/first_party.rs"));

/// What to tell whoever needs a plugin that is not in this binary.
pub const NOT_BUILT_IN: &str =
    "this binary was built without the first-party plugins\n  run: make plugins        then build it again";

/// `redact`, if it is in this binary.
#[must_use]
pub fn redact() -> Option<&'static [u8]> {
    REDACT
}

/// `select`, if it is in this binary.
#[must_use]
pub fn select() -> Option<&'static [u8]> {
    SELECT
}

#[cfg(test)]
mod tests {
    use sluice_plugin_host::inspect;

    #[test]
    fn what_is_built_in_is_a_gate_and_a_view() {
        for component in [super::redact(), super::select()].into_iter().flatten() {
            let kinds = inspect(component).unwrap().kinds;
            assert!(kinds.gate && kinds.view);
        }
    }
}
