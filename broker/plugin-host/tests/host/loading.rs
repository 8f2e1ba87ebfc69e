//! What is taken as a plugin, how it is compiled, and where its code is kept.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use sluice_plugin_host::{
    BindError, CompileError, Host, HostConfig, HostError, Kind, Kinds, Limits, LoadError, Refusal, inspect,
};

use crate::{
    guests::{self, Guest},
    setup::{Setup, compiler},
};

#[test]
fn says_what_a_plugin_can_be() {
    let check = |what: &str, wasm: Vec<u8>, gate, view| {
        let manifest = inspect(&wasm).unwrap_or_else(|refusal| panic!("{what}: {refusal}"));
        assert_eq!(manifest.kinds, Kinds { gate, view }, "{what}");
        assert_eq!(manifest.size, wasm.len());
    };
    check("a gate", Guest::gate().build(), true, false);
    check("a view", Guest::view().build(), false, true);
    check("both", Guest::both().build(), true, true);
    check("one that logs", guests::logs(1, 1), true, true);
    check("one that counts", guests::counts(1), true, true);
}

#[test]
fn refuses_what_is_no_plugin_and_says_why() {
    let check = |what: &str, bytes: &[u8], words: &str| {
        let refusal = inspect(bytes).expect_err(what);
        assert!(refusal.to_string().contains(words), "{what}: {refusal}");
    };
    check("nothing", b"", "not a WebAssembly binary");
    check("text", b"(component)", "not a WebAssembly binary");
    check("an archive", b"PK\x03\x04", "not a WebAssembly binary");
    check("a core module", &guests::core_module(), "a core module, not a component");
    check("a clock", &guests::imports_a_clock(), "imports `wasi:clocks/wall-clock@0.2.0`");
    check(
        "another version",
        &guests::gate_of_another_version(),
        "but sluice:plugin/gate@0.9.0, which this broker does not serve",
    );
    check("no export", &wat::parse_str("(component)").unwrap(), "exports neither `sluice:plugin/gate@0.1.0` nor");
    check("a version of Wasm to come", b"\0asm\x02\0\0\0", "malformed at byte");
    check(
        "an inner component that imports is not the plugin",
        &wat::parse_str(r#"(component (component (import "wasi:cli/run@0.2.0" (instance))))"#).unwrap(),
        "exports neither",
    );
    let large = [b"\0asm", &vec![0; 10 * 1024 * 1024][..]].concat();
    check("a large one", &large, "10485764 bytes long, and at most 10485760 are taken");
}

#[test]
fn every_truncation_and_many_changes_of_a_plugin_are_refused_or_walked_without_harm() {
    let whole = Guest::gate().build();
    for length in 0..whole.len() {
        // A cut between the sections behind the exports, which name things for people, leaves a component.
        let kinds = inspect(&whole[..length]).map(|manifest| manifest.kinds);
        assert!(kinds.is_err() || kinds == Ok(Kinds { gate: true, view: false }), "cut at {length}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        // Both answers are right; it comes to an end, and that is what is asked.
        let _ = inspect(&changed);
    }
}

#[test]
fn types_that_are_not_ours_are_refused_once_compiled() {
    let setup = Setup::new();
    let check = |wasm: &[u8], words: &str| match setup.load(wasm) {
        Err(LoadError::Unfit(why)) => assert!(why.contains(words), "{why}"),
        other => panic!("{other:?}"),
    };
    check(&guests::gate_of_other_types(), "`init` of `sluice:plugin/gate@0.1.0` has another type");
    check(&guests::log_of_another_type(), "sluice:plugin/log@0.1.0");
    check(&guests::starts_with(40_000), "memory");
    assert_eq!(setup.cached().len(), 2, "what the engine will not have is not kept");
}

#[test]
fn a_component_that_does_not_validate_is_refused_by_the_compiler() {
    let setup = Setup::new();
    let mut wasm = Guest::gate().process("(i32.const 424242)").build();
    // The constant becomes one of another type, in an export that still looks like ours.
    let at = wasm.windows(4).position(|four| four == [0x41, 0xb2, 0xf2, 0x19]).unwrap();
    wasm[at] = 0x42;
    match setup.load(&wasm) {
        Err(LoadError::Compile(CompileError::Invalid(why))) => assert!(why.contains("type mismatch"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_under_another_digest_are_not_loaded() {
    let setup = Setup::new();
    assert!(matches!(setup.host.load([0; 32], &guests::keeps_all()), Err(LoadError::Digest)));
    assert!(matches!(setup.load(&guests::core_module()), Err(LoadError::Refused(Refusal::CoreModule))));
}

/// A compiler that must not be asked.
fn no_compiler(config: &mut HostConfig) {
    config.compiler = vec!["/nonexistent/compiler".into()];
}

#[test]
fn code_is_compiled_once_and_kept_over_a_restart() {
    let setup = Setup::new();
    let wasm = guests::keeps_all();
    let first = setup.load(&wasm).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &setup.load(&wasm).unwrap()), "what is loaded is shared");
    drop(first);
    assert_eq!(setup.cached().len(), 1);

    let setup = setup.restarted(no_compiler);
    setup.load(&wasm).unwrap();
    let other = setup.load(&guests::traps());
    assert!(
        matches!(other, Err(LoadError::Compile(CompileError::Process { .. }))),
        "the compiler was not there all along"
    );
}

#[test]
fn code_that_is_broken_is_compiled_again_and_never_run() {
    let setup = Setup::new();
    let wasm = guests::keeps_all();
    setup.load(&wasm).unwrap();
    let file = setup.cached().remove(0);
    let whole = fs::read(&file).unwrap();
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(&file, &broken).unwrap();

    let setup = setup.restarted(no_compiler);
    assert!(matches!(setup.load(&wasm), Err(LoadError::Compile(CompileError::Process { .. }))), "it is not loaded");
    let setup = setup.restarted(|_| {});
    setup.load(&wasm).unwrap();
    assert_eq!(fs::read(&file).unwrap(), whole, "it is mended");
}

#[test]
fn a_compilation_that_takes_too_long_is_killed() {
    let setup = Setup::with(|config| config.compile_timeout = Duration::from_millis(100));
    let wasm = guests::slow_to_compile(40, 30);
    match setup.load(&wasm) {
        Err(LoadError::Compile(CompileError::Timeout(limit))) => assert_eq!(limit, Duration::from_millis(100)),
        other => panic!("{other:?}"),
    }
    assert_eq!(setup.cached(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_compilation_that_takes_too_much_memory_dies_alone() {
    let setup = Setup::with(|config| config.compile_memory_bytes = 64 * 1024 * 1024);
    match setup.load(&guests::slow_to_compile(1, 1200)) {
        Err(LoadError::Compile(CompileError::Died { how, words, .. })) => {
            assert!(how.contains("signal"), "{how}: {words}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_compiler_that_is_none_is_told_apart() {
    let check = |argv: &[&str], words: &str| {
        let setup = Setup::with(|config| {
            config.compiler = argv.iter().map(Into::into).collect();
            config.compile_timeout = Duration::from_secs(5);
        });
        let error = setup.load(&guests::keeps_all()).expect_err(words);
        assert!(error.to_string().contains(words), "{error}");
    };
    check(&["/nonexistent"], "/nonexistent");
    check(&["/bin/true"], "exit code 0");
    check(&["/bin/sh", "-c", "echo broken >&2; exit 1"], "exit code 1; it may use");
    check(&["/bin/sh", "-c", "kill -9 $$"], "signal 9");
    check(&["/bin/sh", "-c", "sleep 9 & echo gone >&2; exit 1"], "gone");
    check(&["/bin/sh", "-c", "cat /dev/zero"], "longer than 134217728 bytes");
}

#[test]
fn by_hand_the_compiling_child_says_that_it_is_not_for_people() {
    let output =
        std::process::Command::new(&compiler()[0]).stdin(fs::File::open("/dev/zero").unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a job"), "{output:?}");
}

#[test]
fn a_host_that_cannot_be_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let try_new = |change: fn(&mut HostConfig)| {
        let mut config = HostConfig::new(dir.path().join("code"), compiler());
        change(&mut config);
        Host::new(config, std::sync::Arc::new(crate::setup::Heard::default())).err()
    };
    assert!(matches!(try_new(|config| config.threads = 0), Some(HostError::Config)));
    assert!(matches!(try_new(|config| config.queue = 0), Some(HostError::Config)));
    assert!(matches!(try_new(|config| config.compiler.clear()), Some(HostError::Config)));
    assert!(try_new(|_| {}).is_none());
    fs::set_permissions(dir.path().join("code"), fs::Permissions::from_mode(0o777)).unwrap();
    let open = try_new(|_| {}).unwrap();
    assert!(open.to_string().contains("chmod 700"), "{open}");
}

#[test]
fn binding_needs_the_kind_sane_limits_and_a_configuration_the_plugin_takes() {
    let setup = Setup::new();
    let gate = Guest::gate().build();
    assert!(matches!(setup.try_bind(Kind::View, &gate, Limits::default()), Err(BindError::Kind(Kind::View))));
    let none = Limits { memory_bytes: 0, ..Limits::default() };
    assert!(matches!(setup.try_bind(Kind::Gate, &gate, none), Err(BindError::Limits(_))));
    let refused = setup.try_bind(Kind::Gate, &guests::refuses_config("no field `at`"), Limits::default());
    assert!(matches!(refused, Err(BindError::Config(words)) if words == "no field `at`"));
}
