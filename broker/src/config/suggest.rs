//! What somebody who mistyped a name may have meant.

/// Names are suggested that are at least this much alike (Jaro-Winkler; 1 is equal): above what unrelated settings that
/// share their first word have.
const ALIKE: f64 = 0.88;

/// The name most like `name`, if any is enough like it.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = names.map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = alike.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}
