//! Changes to a JSON text at places that paths lead to, in one pass over the text for all of them.

use std::ops::Range;

use super::path::Path;
use super::{Type, Value};

/// What becomes of a value that a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It stays; what is in it may still change.
    Keep,
    /// It goes: the member with its name, the item with its place (those behind it move up).
    Remove,
    /// Another JSON text stands in its place. It is not checked.
    Replace(String),
}

/// Changes a value where `paths` lead to; `decide` is told which path it was. None when nothing changes, else the text with
/// all that was not changed as it was written.
///
/// Of paths that lead to the same value the first one decides. Members with the same name are all led to, so that none
/// slips through. `$` leads nowhere here: to replace the whole takes no path.
pub fn rewrite(value: Value<'_>, paths: &[Path], decide: impl FnMut(usize, Value<'_>) -> Change) -> Option<String> {
    let states = (0..paths.len()).map(|path| State { path, step: 0 }).filter(|state| state.next(paths).is_some());
    let mut walk = Walk { paths, states: states.collect(), edits: Vec::new(), decide };
    let all = 0..walk.states.len();
    walk.enter(value, all);
    if walk.edits.is_empty() {
        return None;
    }
    let mut text = String::with_capacity(value.whole.len());
    let mut copied = 0;
    for (range, replacement) in walk.edits {
        text.push_str(&value.whole[copied..range.start]);
        text.push_str(&replacement);
        copied = range.end;
    }
    text.push_str(&value.whole[copied..]);
    Some(text)
}

/// How far along a path the walk is: its steps before `step` have led here.
#[derive(Debug, Clone, Copy)]
struct State {
    path: usize,
    step: usize,
}

impl State {
    fn next<'p>(&self, paths: &'p [Path]) -> Option<&'p super::path::Step> {
        paths[self.path].steps.get(self.step)
    }
}

struct Walk<'p, D> {
    paths: &'p [Path],
    /// A stack: the states of a container, then those of the element that is looked at, and so on inwards.
    states: Vec<State>,
    /// What is replaced by what, first to last, without overlaps.
    edits: Vec<(Range<usize>, String)>,
    decide: D,
}

impl<D: FnMut(usize, Value<'_>) -> Change> Walk<'_, D> {
    /// Goes through an array or an object whose states are in that range of the stack.
    fn enter(&mut self, container: Value<'_>, states: Range<usize>) {
        if states.is_empty() {
            return;
        }
        let mut one_stays = false;
        let mut elements = container.elements().enumerate().peekable();
        while let Some((index, element)) = elements.next() {
            for at in states.clone() {
                let state = self.states[at];
                let Some(step) = state.next(self.paths) else { continue };
                if step.selector.selects(&element, index) {
                    self.states.push(State { step: state.step + 1, ..state });
                }
                if step.anywhere {
                    self.states.push(state);
                }
            }
            match self.arrive(element.value, states.end) {
                Change::Keep => {
                    if matches!(element.value.kind(), Type::Array | Type::Object) {
                        self.enter(element.value, states.end..self.states.len());
                    }
                    one_stays = true;
                }
                Change::Replace(text) => {
                    self.edits.push((element.value.span(), text));
                    one_stays = true;
                }
                Change::Remove => {
                    // With the comma before it if there is one that stays, else with the one behind it.
                    let Range { start, end } = element.segment;
                    let range = match (one_stays, elements.peek().is_some()) {
                        (true, _) => start - 1..end,
                        (false, true) => start..end + 1,
                        (false, false) => start..end,
                    };
                    self.edits.push((range, String::new()));
                }
            }
            self.states.truncate(states.end);
        }
    }

    /// Asks about a value if a path, of those whose states start at `from`, ends here.
    fn arrive(&mut self, value: Value<'_>, from: usize) -> Change {
        let ended = self.states[from..].iter().filter(|state| state.next(self.paths).is_none());
        match ended.map(|state| state.path).min() {
            Some(path) => (self.decide)(path, value),
            None => Change::Keep,
        }
    }
}
