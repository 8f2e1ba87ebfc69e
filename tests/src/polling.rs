//! Waiting for what another process does and tells nobody: asking again and again, with a limit. The one place where time is
//! let pass.

use std::time::{Duration, Instant};

/// Between two questions: short beside what is awaited, long enough that asking is no load.
const PAUSE: Duration = Duration::from_millis(25);

/// Asks until there is an answer; `Err` with what was last said instead, when `within` passes first.
pub fn poll_until<T, E>(within: Duration, mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let until = Instant::now() + within;
    loop {
        match ask() {
            Err(_) if Instant::now() < until => let_pass(PAUSE),
            last => return last,
        }
    }
}

/// Lets time pass: between two questions, or while a fault lasts.
#[expect(clippy::disallowed_methods, reason = "another process's state is no event that could be awaited")]
pub(crate) fn let_pass(duration: Duration) {
    std::thread::sleep(duration);
}
