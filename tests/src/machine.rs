//! What tests do to the machine they run on, where they may: commands that only root's work, on things named after the test
//! process, so that the next run finds what a killed one left behind.

use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{PATIENCE, run};

/// What our names begin with. A link's may be of 15 characters, and has to hold this, a process id and two small numbers.
const PREFIX: &str = "sl";

/// Between the process id and the number in a name.
const MARK: char = 'x';

/// A name that no other test has, of this process or another.
pub(crate) fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}{MARK}{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether a name is one of ours, and the process that took it is gone.
pub(crate) fn is_left_over(name: &str) -> bool {
    let taken_by = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(MARK)).map(|(id, _)| id);
    taken_by.and_then(|id| id.parse::<u32>().ok()).is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists())
}

/// Runs a command, given as its words; what it said, when it failed or is not there.
pub(crate) fn command(line: &str) -> Result<(), String> {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a command has a name");
    if !["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|folder| Path::new(folder).join(program).exists()) {
        return Err(format!("there is no {program}"));
    }
    let ran = run(Command::new(program).args(words), b"", PATIENCE);
    if ran.status.success() { Ok(()) } else { Err(format!("{line}: {}{}", ran.stdout, ran.stderr)) }
}

/// Runs a command that undoes something, and says if it fails: a test that ends has nobody else to tell.
pub(crate) fn undo(line: &str) {
    if let Err(why) = command(line) {
        eprintln!("left behind: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_told_from_what_the_living_have() {
        let ours = new_name();
        assert_ne!(ours, new_name());
        assert!(ours.len() <= 12, "{ours}: a link's name has three characters more, and there are 15");
        // Above the kernel's greatest process id.
        let left = format!("{PREFIX}4194305{MARK}0");
        for (name, expected) in [(&*ours, false), (&*left, true), ("sl", false), ("slow", false), ("eth0", false)] {
            assert_eq!(is_left_over(name), expected, "{name}");
        }
    }

    #[test]
    fn a_command_that_fails_says_why() {
        assert_eq!(command("true"), Ok(()));
        assert!(command("cat /nowhere").is_err_and(|why| why.contains("No such file")));
        assert_eq!(command("no-such-command"), Err("there is no no-such-command".to_owned()));
    }
}
