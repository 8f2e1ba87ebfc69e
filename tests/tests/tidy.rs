//! The rules of the house that a machine can hold: file length, opening words, who may depend on whom, what is named where,
//! and that what the documents tell readers to run or to read is there.
//!
//! Each rule is one test over the checked-out tree; a failure lists every place that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Lines a source file may have. Beyond it a file has more than one story to tell.
const LINES_MAX: usize = 600;

/// Files allowed to be longer, each with its length and the reason. It only ever shrinks.
const LONGER: [(&str, usize, &str); 0] = [];

/// Which of our crates each crate may name, dev-dependencies included: the arrows of ARCHITECTURE.md.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("sluice-protocol", &[]),
    ("sluice-storage", &["sluice-protocol"]),
    ("sluice-cluster", &["sluice-protocol"]),
    ("sluice-plugin-host", &["sluice-protocol"]),
    ("sluice", &["sluice-protocol", "sluice-storage", "sluice-cluster", "sluice-plugin-host", "sluice-plugin-kit"]),
    ("sluice-sdk-macros", &[]),
    ("sluice-plugin-kit", &[]),
    ("sluice-sdk", &["sluice-sdk-macros"]),
    ("redact", &["sluice-sdk"]),
    ("select", &["sluice-sdk"]),
    ("sluice-examples", &["sluice", "sluice-protocol", "sluice-sdk"]),
    ("sluice-tests", &["sluice", "sluice-protocol", "sluice-cluster", "sluice-examples"]),
];

/// Crates from outside that only some of ours may name, and what that keeps possible.
const NAMED_ONLY_BY: &[(&str, &[&str], &str)] = &[
    ("wasmtime", &["sluice-plugin-host"], "the engine is one crate's business"),
    ("zookeeper-client", &["sluice"], "coordination is behind one trait"),
    ("tokio", &["sluice", "sluice-tests"], "decisions, bytes and plugins are synchronous"),
    ("rustls", &["sluice", "sluice-tests"], "only the broker does network IO"),
    ("kafka-protocol", &["sluice-protocol"], "the oracle of differential tests, not fit for the data path"),
];

/// What a file of `folder` must not say: the crate's promise in its own words.
const UNSAID: &[(&str, &[&str])] = &[
    ("broker/cluster/src", &["std::fs", "std::net", "Instant::now", "SystemTime", "rand::", "getrandom"]),
    ("broker/protocol/src", &["std::net", "Instant::now", "SystemTime"]),
    ("broker/storage/src", &["std::net"]),
];

#[test]
fn no_file_is_longer_than_it_should_be() {
    let tree = Tree::read();
    assert_none(tree.sources().filter_map(|(path, text)| {
        let lines = text.lines().count();
        let allowed = LONGER.iter().find(|(longer, ..)| path == *longer).map_or(LINES_MAX, |&(_, lines, _)| lines);
        (lines > allowed).then(|| format!("{path}: {lines} lines, {allowed} allowed"))
    }));
}

#[test]
fn every_rust_file_opens_with_its_story() {
    let tree = Tree::read();
    assert_none(tree.rust().filter(|(_, text)| !text.starts_with("//!")).map(|(path, _)| path.to_owned()));
}

#[test]
fn unsafe_code_is_forbidden_in_every_host_crate() {
    let tree = Tree::read();
    assert_none(metadata().workspace_packages().into_iter().flat_map(|package| {
        // The guest's bindings need unsafe code, and loading our own compiled cache is one unsafe call.
        let denies = package.name.starts_with("sluice-sdk")
            || package.name.as_str() == "sluice-plugin-host"
            || tree.relative(package.manifest_path.as_std_path()).starts_with("plugins/");
        let wanted = if denies { "unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        let roots =
            package.targets.iter().filter(|target| target.is_lib() || target.is_bin() || target.is_proc_macro());
        roots
            .map(|target| tree.relative(target.src_path.as_std_path()))
            .filter(|root| !tree.text(root).contains(wanted))
            .map(|root| format!("{root}: no {wanted}"))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn crates_depend_in_one_direction() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let table: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
    assert_none(ours.iter().filter(|name| !table.contains_key(*name)).map(|name| format!("{name} has no row")));
    assert_none(metadata.workspace_packages().into_iter().flat_map(|package| {
        let allowed = table[package.name.as_str()];
        let named = dependencies(package).filter(|name| ours.contains(name.as_str()));
        named
            .filter(|name| !allowed.contains(&name.as_str()))
            .map(|name| format!("{} depends on {name}", package.name))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn some_crates_are_named_in_one_place() {
    let metadata = metadata();
    assert_none(NAMED_ONLY_BY.iter().flat_map(|&(outside, by, why)| {
        let all = metadata.workspace_packages().into_iter();
        all.filter(|package| !by.contains(&package.name.as_str()))
            .filter(|package| dependencies(package).any(|name| name == outside))
            .map(|package| format!("{} names {outside}: {why}", package.name))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn zookeepers_client_is_named_in_one_file() {
    let tree = Tree::read();
    let naming: Vec<&str> =
        tree.rust().filter(|(_, text)| text.contains(concat!("zookeeper", "_client"))).map(|(path, _)| path).collect();
    assert!(naming.len() <= 1, "named in {naming:?}");
}

#[test]
fn crates_keep_what_their_story_promises() {
    let tree = Tree::read();
    assert_none(UNSAID.iter().flat_map(|&(folder, words)| {
        let files = tree.rust().filter(move |(path, _)| path.starts_with(folder));
        files.flat_map(move |(path, text)| {
            words
                .iter()
                .filter(|word| code_lines(text).any(|line| line.contains(**word)))
                .map(move |word| format!("{path}: {word}"))
        })
    }));
}

#[test]
fn no_module_is_named_for_having_no_name() {
    let tree = Tree::read();
    let nameless = ["util", "utils", "common", "helper", "helpers", "misc"];
    assert_none(tree.rust().filter_map(|(path, text)| {
        let in_path = Path::new(path).with_extension("").iter().any(|part| nameless.iter().any(|name| part == *name));
        let declared = code_lines(text).any(|line| {
            let declaration = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            nameless
                .iter()
                .any(|name| declaration.starts_with(&format!("mod {name}")) && declaration.ends_with(['{', ';']))
                && nameless.contains(&declaration.trim_start_matches("mod ").trim_end_matches([' ', '{', ';']))
        });
        (in_path || declared).then(|| path.to_owned())
    }));
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    let tree = Tree::read();
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("to", "do!("),
        concat!("unimplemen", "ted!("),
        concat!("db", "g!("),
    ];
    assert_none(tree.files.iter().flat_map(|(path, text)| {
        let found = words.iter().filter(|word| text.contains(**word));
        found.map(|word| format!("{path}: {word}")).collect::<Vec<_>>()
    }));
}

#[test]
fn make_explains_every_target_in_one_line() {
    let tree = Tree::read();
    let targets = tree.make_targets();
    let phony: BTreeSet<&str> =
        tree.text("Makefile").lines().find_map(|line| line.strip_prefix(".PHONY: ")).unwrap_or("").split(' ').collect();
    assert_eq!(phony, targets.keys().copied().collect::<BTreeSet<_>>(), ".PHONY lists the targets");
    let explained = |target: &str| tree.text("Makefile").contains(&format!("{target}: ## "));
    let odd = targets.iter().filter(|(target, recipe)| recipe.len() != 1 || !explained(target));
    assert_none(odd.map(|(target, recipe)| format!("make {target}: no explanation, or {} lines", recipe.len())));
}

#[test]
fn the_documents_name_only_make_targets_that_exist() {
    let tree = Tree::read();
    let targets = tree.make_targets();
    assert_none(tree.documents().flat_map(|(path, text)| {
        let commands =
            text.split("make ").skip(1).zip(text.split("make ")).filter(|(_, before)| {
                before.ends_with(['`', '\n']) || before.ends_with("$ ") || before.ends_with("&& ")
            });
        commands
            .map(|(after, _)| after.split(|c: char| !c.is_ascii_lowercase() && c != '-').next().unwrap_or_default())
            .filter(|target| !target.is_empty() && !targets.contains_key(target))
            .map(|target| format!("{path}: make {target}"))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let tree = Tree::read();
    assert_none(tree.documents().flat_map(|(path, text)| {
        let folder = tree.root.join(path).parent().map(Path::to_path_buf).unwrap_or_default();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        targets
            .filter(|target| !target.is_empty() && !target.contains("://") && !folder.join(target).exists())
            .map(|target| format!("{path}: {target}"))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn the_documents_a_reader_expects_are_there() {
    let tree = Tree::read();
    let plugins = fs::read_dir(tree.root.join("plugins"))
        .expect("plugins/ is there")
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir());
    let readmes = plugins.map(|plugin| tree.relative(&plugin.path().join("README.md")));
    let expected = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "METRICS.md",
        "SECURITY.md",
        "LICENSE",
        "sdk/README.md",
        "wit/plugin.wit",
        "wit/batch-layout.md",
        "examples/README.md",
    ];
    assert_none(readmes.chain(expected.map(str::to_owned)).filter(|path| !tree.root.join(path).is_file()));
}

#[test]
fn the_code_map_shows_every_crate() {
    let tree = Tree::read();
    let map = tree.text("ARCHITECTURE.md");
    assert_none(metadata().workspace_packages().into_iter().filter_map(|package| {
        let folder = tree.relative(package.manifest_path.parent().expect("a manifest is in a folder").as_std_path());
        let shown = map.contains(&format!("`{folder}/`")) || map.contains(&format!("{folder}/)"));
        (!shown).then_some(folder)
    }));
}

#[test]
fn what_the_documents_name_as_proof_is_there() {
    let tree = Tree::read();
    let planted = tree.text("broker/cluster/src/planted.rs");
    let code: Vec<&str> = tree.rust().map(|(_, text)| text).collect();
    let is_test = |name: &str| code.iter().any(|text| text.contains(&format!("fn {name}(")));
    let is_planted = |name: &str| planted.contains(&format!("    {name},"));
    assert_none(["tests/FAILURES.md", "README.md"].iter().flat_map(|path| {
        // The rows of tables, every second piece of which is between backticks.
        let rows = tree.text(path).lines().filter(|line| line.starts_with("| "));
        let names = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
        let shaped = |name: &&str| name.contains('_') || (*path == "tests/FAILURES.md" && !name.contains('.'));
        let proofs = names.filter(shaped).filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
        proofs
            .filter(|name| !is_test(name) && !is_planted(name))
            .map(|name| format!("{path}: {name}"))
            .collect::<Vec<_>>()
    }));
}

/// The text files of the checkout, by their path from its root.
struct Tree {
    root: PathBuf,
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads what is part of the project: not what builds leave behind, and not the version control's own.
    fn read() -> Self {
        let root = metadata().workspace_root.into_std_path_buf();
        let kept = |entry: &walkdir::DirEntry| {
            !matches!(entry.file_name().to_str(), Some(".git" | "target" | "node_modules" | "__pycache__"))
        };
        let files = walkdir::WalkDir::new(&root)
            .into_iter()
            .filter_entry(kept)
            .map(|entry| entry.expect("the checkout can be read"));
        let files = files.filter(|entry| entry.file_type().is_file() && is_written_by_hand(entry.path()));
        let files = files.map(|entry| {
            let path =
                entry.path().strip_prefix(&root).expect("it was found under the root").to_string_lossy().into_owned();
            (
                path,
                fs::read_to_string(entry.path()).unwrap_or_else(|error| panic!("{}: {error}", entry.path().display())),
            )
        });
        Self { files: files.collect(), root }
    }

    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources().filter(|(path, _)| path.ends_with(".rs"))
    }

    fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        let source =
            |path: &str| [".rs", ".py", ".java", ".wit"].iter().any(|end| path.ends_with(end)) || !path.contains('.');
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .filter(move |(path, _)| source(path) && *path != "LICENSE")
    }

    fn documents(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str())).filter(|(path, _)| path.ends_with(".md"))
    }

    fn text(&self, path: &str) -> &str {
        self.files.get(path).unwrap_or_else(|| panic!("{path} is not there"))
    }

    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// Every target of the Makefile with the lines of its recipe.
    fn make_targets(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut targets = BTreeMap::<&str, Vec<&str>>::new();
        let mut current = None;
        for line in self.text("Makefile").lines() {
            if let Some(step) = line.strip_prefix('\t') {
                targets.get_mut(current.expect("a recipe follows its target")).expect("it was entered").push(step);
            } else if let Some((target, _)) = line
                .split_once(':')
                .filter(|(target, _)| target.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !target.is_empty())
            {
                targets.entry(target).or_default();
                current = Some(target);
            }
        }
        targets
    }
}

/// Whether a file is text that someone of the project wrote: the rules are about those.
fn is_written_by_hand(path: &Path) -> bool {
    let known = ["rs", "md", "toml", "wit", "py", "java", "xml", "txt"];
    path.extension().map_or_else(
        || {
            path.parent().is_some_and(|folder| [".ci", "scripts", "examples"].iter().any(|name| folder.ends_with(name)))
                || path.ends_with("Makefile")
        },
        |extension| known.iter().any(|known| extension == *known),
    )
}

/// Lines that are not comments.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Names of all crates a package depends on to build or to be tested.
fn dependencies(package: &Package) -> impl Iterator<Item = String> {
    let kinds = [DependencyKind::Normal, DependencyKind::Build, DependencyKind::Development];
    package
        .dependencies
        .iter()
        .filter(move |dependency| kinds.contains(&dependency.kind))
        .map(|dependency| dependency.name.clone())
}

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo describes the workspace")
}

/// Fails with all that breaks the rule, so that one run shows the whole of it.
#[track_caller]
fn assert_none(broken: impl IntoIterator<Item = String>) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "\n  {}", broken.join("\n  "));
}
