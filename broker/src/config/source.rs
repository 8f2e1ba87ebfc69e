//! Where settings come from: a file (TOML or Java properties), the environment, flags. Each gives names and texts with
//! their origin; what they mean is decided in one place, [`super::resolved`].

mod properties;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A setting as somebody wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its dotted name.
    pub name: String,
    /// Its text.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

/// Where a setting's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything: the row's default.
    Default,
    /// A file.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// `--set NAME=VALUE`, or a flag of its own.
    Flag,
    /// A command that runs a broker of its own, such as `sluice dev`.
    Command(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag => f.write_str("flag"),
            Self::Command(command) => f.write_str(command),
        }
    }
}

/// Why a source cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The file's name says neither of the two formats.
    #[error("{path}: a configuration file ends in .toml or .properties")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file is not written as its format wants.
    #[error("{path}:{line}: {cause}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        cause: String,
    },
    /// `--set` without a `=`.
    #[error("--set wants NAME=VALUE, and `{text}` has no `=`")]
    Flag {
        /// What was given.
        text: String,
    },
}

/// Environment variables of the prefix that are no settings: they steer the command line, the build and the tests.
pub(super) static NOT_SETTINGS: &[&str] = &[
    "SLUICE_ADMIN",
    "SLUICE_BIN",
    "SLUICE_BOOTSTRAP_SERVER",
    "SLUICE_CA",
    "SLUICE_CACHE",
    "SLUICE_CERT",
    "SLUICE_FORMAT",
    "SLUICE_KEY",
    "SLUICE_LOG",
    "SLUICE_LOG_FORMAT",
    "SLUICE_PLUGINS_DIR",
    "SLUICE_PROFILE",
    "SLUICE_WASM_FROM",
];

/// What every environment variable that is a setting begins with.
const PREFIX: &str = "SLUICE_";

/// Reads a file of either format.
pub fn from_file(path: &Path) -> Result<Vec<Entry>, SourceError> {
    let text = std::fs::read_to_string(path).map_err(|cause| SourceError::Read { path: path.to_owned(), cause })?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => from_toml(path, &text),
        Some("properties") => from_properties(path, &text),
        _ => Err(SourceError::Format { path: path.to_owned() }),
    }
}

fn from_properties(path: &Path, text: &str) -> Result<Vec<Entry>, SourceError> {
    let shared: Arc<Path> = path.into();
    let properties =
        properties::parse(text).map_err(|(line, cause)| SourceError::Syntax { path: path.to_owned(), line, cause })?;
    let entry = |(line, name, value)| Entry { name, value, origin: Origin::File { path: Arc::clone(&shared), line } };
    Ok(properties.into_iter().map(entry).collect())
}

/// Nested tables flatten to dotted names, lists to texts with commas.
fn from_toml(path: &Path, text: &str) -> Result<Vec<Entry>, SourceError> {
    let line_at = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1;
    let failed = |at: usize, cause: String| SourceError::Syntax { path: path.to_owned(), line: line_at(at), cause };
    let table = DeTable::parse(text)
        .map_err(|error| failed(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
    let mut flat = Vec::new();
    flatten("", table.get_ref(), &mut flat).map_err(|(at, cause)| failed(at, cause))?;
    let shared: Arc<Path> = path.into();
    let entry = |(at, name, value)| Entry {
        name,
        value,
        origin: Origin::File { path: Arc::clone(&shared), line: line_at(at) },
    };
    Ok(flat.into_iter().map(entry).collect())
}

type Place = usize;

fn flatten(prefix: &str, table: &DeTable<'_>, out: &mut Vec<(Place, String, String)>) -> Result<(), (Place, String)> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(&name, inner, out)?,
            DeValue::Array(items) => {
                let words: Result<Vec<String>, _> = items.iter().map(|item| scalar(&name, item)).collect();
                out.push((key.span().start, name, words?.join(",")));
            }
            _ => {
                let text = scalar(&name, value)?;
                out.push((key.span().start, name, text));
            }
        }
    }
    Ok(())
}

fn scalar(name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, (Place, String)> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err((value.span().start, format!("`{name}` is a number beyond 64 bits"))),
        },
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err((value.span().start, format!("`{name}` has to be text, a number, true or false, or a list of these")))
        }
    }
}

/// The settings among environment variables. `_` stands for `.`, `__` for `-`, `___` for `_` (as in Confluent's images).
pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = variables
        .filter(|(variable, _)| !NOT_SETTINGS.contains(&variable.as_str()))
        .filter_map(|(variable, value)| {
            let name = setting_name(variable.strip_prefix(PREFIX)?);
            Some(Entry { name, value, origin: Origin::Environment(variable) })
        })
        .collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name)); // the environment has no order of its own
    entries
}

fn setting_name(variable: &str) -> String {
    let mut name = String::with_capacity(variable.len());
    let mut rest = variable;
    while let Some(at) = rest.find('_') {
        name.push_str(&rest[..at]);
        rest = &rest[at..];
        let underscores = rest.bytes().take_while(|&byte| byte == b'_').count().min(3);
        name.push(match underscores {
            1 => '.',
            2 => '-',
            _ => '_',
        });
        rest = &rest[underscores..];
    }
    name.push_str(rest);
    name.to_ascii_lowercase()
}

/// What `--set` gave.
pub fn from_flags(flags: &[String]) -> Result<Vec<Entry>, SourceError> {
    let entry = |flag: &String| match flag.split_once('=') {
        Some((name, value)) => {
            Ok(Entry { name: name.trim().to_owned(), value: value.trim().to_owned(), origin: Origin::Flag })
        }
        None => Err(SourceError::Flag { text: flag.clone() }),
    };
    flags.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(entries: Vec<Entry>) -> Vec<String> {
        entries.into_iter().map(|entry| format!("{} {}={}", entry.origin, entry.name, entry.value)).collect()
    }

    #[test]
    fn toml_flattens_to_dotted_names() {
        let text = "broker.id = 3\nlisteners = [\"SSL://:9093\", \"PLAINTEXT://:9092\"]\n\n[log]\ndirs = \"/data\"\nretention.ms = 1_000\nsegment = { bytes = 0x100000 }\n\n\
                    [\"auto.create\"]\n\"topics.enable\" = false\n";
        let mut entries = flat(from_toml(Path::new("s.toml"), text).expect("good"));
        entries.sort();
        assert_eq!(
            entries,
            [
                "s.toml:1 broker.id=3",
                "s.toml:10 auto.create.topics.enable=false",
                "s.toml:2 listeners=SSL://:9093,PLAINTEXT://:9092",
                "s.toml:5 log.dirs=/data",
                "s.toml:6 log.retention.ms=1000",
                "s.toml:7 log.segment.bytes=1048576",
            ]
        );
    }

    #[test]
    fn what_is_not_toml_says_where() {
        let check = |text: &str, expected: &str| {
            let error = from_toml(Path::new("s.toml"), text).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check("a = 1\nb = = 2\n", "s.toml:2: ");
        check("a = 1\na = 2\n", "s.toml:2: ");
        check("\n\nsince = 1979-05-27\n", "s.toml:3: `since` has to be text");
        check("many = [[1]]", "s.toml:1: `many` has to be text");
        check("big = 99999999999999999999", "s.toml:1: `big` is a number beyond 64 bits");
    }

    #[test]
    fn environment_variables_that_are_settings() {
        let check = |variable: &str, expected: Option<&str>| {
            let entries = from_environment([(variable.to_owned(), "x".to_owned())].into_iter());
            assert_eq!(entries.first().map(|entry| entry.name.as_str()), expected, "{variable}");
        };
        check("SLUICE_BROKER_ID", Some("broker.id"));
        check("SLUICE_LOG_RETENTION_MS", Some("log.retention.ms"));
        check("SLUICE_SLUICE_FLUSH_MODE", Some("sluice.flush.mode"));
        check("SLUICE_A__B___C", Some("a-b_c"));
        check("SLUICE_A____B", Some("a_.b"));
        check("SLUICE_PROFILE", None);
        check("PATH", None);
    }

    #[test]
    fn flags_name_and_value() {
        assert_eq!(
            flat(from_flags(&["a.b=c=d".to_owned(), " e = f".to_owned()]).expect("good")),
            ["flag a.b=c=d", "flag e=f"]
        );
        assert!(matches!(from_flags(&["a.b".to_owned()]), Err(SourceError::Flag { text }) if text == "a.b"));
    }

    #[test]
    fn the_format_is_in_the_files_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("server.properties");
        std::fs::write(&path, "broker.id=7\n").expect("writes");
        assert_eq!(from_file(&path).expect("good")[0].value, "7");
        let other = folder.path().join("server.conf");
        std::fs::write(&other, "").expect("writes");
        assert!(matches!(from_file(&other), Err(SourceError::Format { .. })));
        assert!(matches!(from_file(&folder.path().join("none.toml")), Err(SourceError::Read { .. })));
    }
}
