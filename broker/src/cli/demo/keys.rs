//! Keys pressed on the terminal, one at a time and without Return.

use std::io::{self, IsTerminal as _, Read as _};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// Keys that nobody has looked at yet: somebody leans on the keyboard.
const KEYS_MAX: usize = 16;

/// The keyboard, while this lives. Then it is as it was.
pub(super) struct Keys {
    pressed: mpsc::Receiver<u8>,
    before: Termios,
}

impl Keys {
    /// None if standard input is no terminal.
    pub(super) fn listen() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut each = before.clone();
        // Ctrl-C stays a signal: whoever serves listens for it.
        each.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &each).ok()?;
        let (told, pressed) = mpsc::channel(KEYS_MAX);
        // A thread of its own: a read that waits for a key cannot be given up. It ends with the process.
        let reader = thread::Builder::new().name("keys".to_owned()).spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if told.blocking_send(key).is_err() {
                    return;
                }
            }
        });
        let keys = Self { pressed, before };
        reader.is_ok().then_some(keys)
    }

    /// The next key; none any more once standard input has ended.
    pub(super) async fn next(&mut self) -> Option<u8> {
        self.pressed.recv().await
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
