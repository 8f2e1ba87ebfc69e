//! Plugins written by hand, most of them hostile: core modules in the text format, made components with the WIT package
//! of this repository, as a plugin's build does. They allocate by counting up, as the canonical ABI allows, so what
//! they do is all there is to read.
//!
//! Other crates' tests include this file by its path and hand the bytes to a broker.
#![allow(dead_code, reason = "every includer uses some of them")]

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

const WIT: &str = include_str!("../../../../wit/plugin.wit");

/// Columns, as a descriptor's flags.
pub(crate) const KEYS: u8 = 1;
pub(crate) const VALUES: u8 = 2;
pub(crate) const HEADERS: u8 = 4;
pub(crate) const TIMESTAMPS: u8 = 8;

/// A guest in the making. It is a gate and keeps every record of a batch whose values it sees, until told otherwise.
pub(crate) struct Guest {
    interfaces: &'static [&'static str],
    memory: String,
    imports: &'static str,
    items: String,
    init: String,
    process: String,
    /// Whether its memory is taken back after each answer.
    frees: bool,
}

/// Where answers and results are put, and where allocation starts: all below is the guest's own.
const RESULT: u32 = 16;
const SCRATCH: u32 = 64;
const HEAP: u32 = 32 * 1024;

/// `log.write`, as `$log`.
const LOG: &str = r#"(import "sluice:plugin/log@0.1.0" "write" (func $log (param i32 i32 i32)))"#;
/// `metrics.add`, as `$add`, and `metrics.set`, as `$set`.
const METRICS: &str = r#"
    (import "sluice:plugin/metrics@0.1.0" "add" (func $add (param i32 i32 i64)))
    (import "sluice:plugin/metrics@0.1.0" "set" (func $set (param i32 i32 f64)))"#;

/// Answers that every record is kept.
const KEEP_ALL: &str = "(call $keep_all (local.get $batch))";

impl Guest {
    pub(crate) fn gate() -> Self {
        Self::of(&["gate"])
    }

    pub(crate) fn view() -> Self {
        Self::of(&["view"])
    }

    pub(crate) fn both() -> Self {
        Self::of(&["gate", "view"])
    }

    fn of(interfaces: &'static [&'static str]) -> Self {
        Self {
            interfaces,
            memory: "2".to_owned(),
            imports: "",
            items: String::new(),
            init: String::new(),
            process: KEEP_ALL.to_owned(),
            frees: true,
        }
        .columns(VALUES)
    }

    /// The memory's limits in pages, as the text format writes them.
    pub(crate) fn memory(mut self, limits: &str) -> Self {
        limits.clone_into(&mut self.memory);
        self
    }

    /// What `init` says it wants to see.
    pub(crate) fn columns(self, columns: u8) -> Self {
        self.init(&format!("(call $described (i32.const {columns}))"))
    }

    /// The body of `init`, with `$config` and `$length`; it leaves the address of a result.
    pub(crate) fn init(mut self, body: &str) -> Self {
        body.clone_into(&mut self.init);
        self
    }

    /// The body of `process`, with `$batch` and `$length`; it leaves the address of a result.
    pub(crate) fn process(mut self, body: &str) -> Self {
        body.clone_into(&mut self.process);
        self
    }

    pub(crate) fn imports(mut self, imports: &'static str) -> Self {
        self.imports = imports;
        self
    }

    /// Further items of the module.
    pub(crate) fn items(mut self, items: &str) -> Self {
        items.clone_into(&mut self.items);
        self
    }

    /// Takes no memory back.
    pub(crate) fn leaking(mut self) -> Self {
        self.frees = false;
        self
    }

    /// The component.
    pub(crate) fn build(self) -> Vec<u8> {
        let world = match self.interfaces {
            ["gate"] => "gate-plugin",
            ["view"] => "view-plugin",
            _ => "gate-and-view-plugin",
        };
        component(WIT, world, &self.module())
    }

    fn module(&self) -> String {
        let Self { memory, imports, items, init, process, .. } = self;
        let free = if self.frees { format!("(global.set $next (i32.const {HEAP}))") } else { String::new() };
        let exports: String = self
            .interfaces
            .iter()
            .map(|kind| {
                format!(
                    r#"
        (func (export "sluice:plugin/{kind}@0.1.0#init") (param $config i32) (param $length i32) (result i32) {init})
        (func (export "sluice:plugin/{kind}@0.1.0#process") (param $batch i32) (param $length i32) (result i32) {process})
        (func (export "cabi_post_sluice:plugin/{kind}@0.1.0#process") (param i32) {free})"#
                )
            })
            .collect();
        format!(
            r#"(module
        {imports}
        (memory (export "memory") {memory})
        (global $next (mut i32) (i32.const {HEAP}))
        (func $alloc (param $align i32) (param $size i32) (result i32)
            (local $at i32) (local $short i32)
            (local.set $at (i32.and
                (i32.sub (i32.add (global.get $next) (local.get $align)) (i32.const 1))
                (i32.sub (i32.const 0) (local.get $align))))
            (global.set $next (i32.add (local.get $at) (local.get $size)))
            (local.set $short (i32.sub (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
            (if (i32.gt_s (local.get $short) (i32.const 0))
                (then (if (i32.eq
                    (memory.grow (i32.add (i32.shr_u (local.get $short) (i32.const 16)) (i32.const 1)))
                    (i32.const -1)) (then unreachable))))
            (local.get $at))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (call $alloc (local.get 2) (local.get 3)))
        ;; result::ok(a list or a string)
        (func $ok (param $at i32) (param $length i32) (result i32)
            (i32.store8 (i32.const {RESULT}) (i32.const 0))
            (i32.store offset=4 (i32.const {RESULT}) (local.get $at))
            (i32.store offset=8 (i32.const {RESULT}) (local.get $length))
            (i32.const {RESULT}))
        ;; result::err(a string)
        (func $err (param $at i32) (param $length i32) (result i32)
            (drop (call $ok (local.get $at) (local.get $length)))
            (i32.store8 (i32.const {RESULT}) (i32.const 1))
            (i32.const {RESULT}))
        ;; result::ok(descriptor)
        (func $described (param $columns i32) (result i32)
            (i32.store8 (i32.const {RESULT}) (i32.const 0))
            (i32.store8 offset=4 (i32.const {RESULT}) (local.get $columns))
            (i32.const {RESULT}))
        (func $keep_all (param $batch i32) (result i32)
            (i32.store (i32.const {SCRATCH}) (i32.const 0x31564C53)) ;; SLV1
            (i32.store offset=4 (i32.const {SCRATCH}) (i32.load offset=8 (local.get $batch)))
            (i32.store offset=8 (i32.const {SCRATCH}) (i32.const 1))
            (i32.store offset=12 (i32.const {SCRATCH}) (i32.const 0))
            (call $ok (i32.const {SCRATCH}) (i32.const 16)))
        {items}
        {exports})"#
        )
    }
}

/// A component of `world` in `wit` around a core module in the text format.
pub(crate) fn component(wit: &str, world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("plugin.wit", wit).expect("the WIT package");
    let world = resolve.select_world(&[package], Some(world)).expect("the world");
    let mut module = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).expect("a module of the world");
    encoder.encode().expect("a component")
}

/// Bytes as a data segment's text.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Keeps every record.
pub(crate) fn keeps_all() -> Vec<u8> {
    Guest::both().build()
}

/// Drops every record whose value begins with `x`; keeps the rest. Reads the ends as they are packed when only values
/// are asked for.
pub(crate) fn drops_x() -> Vec<u8> {
    Guest::both()
        .process(
            r"(local $n i32) (local $i i32) (local $out i32) (local $ends i32) (local $blob i32) (local $at i32)
            (local.set $n (i32.load offset=8 (local.get $batch)))
            ;; offset deltas start at the multiple of eight after header and topic, the ends of the values after them
            (local.set $ends (i32.and (i32.const -8)
                (i32.add (i32.const 47) (i32.load offset=36 (local.get $batch)))))
            (local.set $ends (i32.and (i32.const -8)
                (i32.add (i32.const 7) (i32.add (local.get $ends) (i32.mul (local.get $n) (i32.const 4))))))
            (local.set $ends (i32.add (local.get $ends) (local.get $batch)))
            (local.set $blob (i32.add (local.get $ends) (i32.mul (local.get $n) (i32.const 4))))
            (local.set $out (call $alloc (i32.const 4) (i32.add (i32.const 20) (local.get $n))))
            (i32.store (local.get $out) (i32.const 0x31564C53))
            (i32.store offset=4 (local.get $out) (local.get $n))
            (i64.store offset=8 (local.get $out) (i64.const 0))
            ;; the padding after the verdicts
            (i32.store offset=16 (i32.add (local.get $out) (i32.and (i32.const -4) (local.get $n))) (i32.const 0))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $i) (local.get $n)))
                (i32.store8 offset=16 (i32.add (local.get $out) (local.get $i))
                    (i32.eq (i32.load8_u (i32.add (local.get $blob) (local.get $at))) (i32.const 120)))
                (local.set $at (i32.and (i32.const 0x7fffffff)
                    (i32.load (i32.add (local.get $ends) (i32.mul (local.get $i) (i32.const 4))))))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br $next)))
            (call $ok (local.get $out) (i32.add (i32.const 16) (i32.and (i32.const -4)
                (i32.add (i32.const 3) (local.get $n)))))",
        )
        .build()
}

/// Answers these bytes to whatever batch.
pub(crate) fn answers(guest: Guest, answer: &[u8]) -> Vec<u8> {
    let length = answer.len();
    guest
        .items(&format!(r#"(data (i32.const {SCRATCH}) "{}")"#, text(answer)))
        .process(&format!("(call $ok (i32.const {SCRATCH}) (i32.const {length}))"))
        .build()
}

/// Hands the batch back as its answer: an answer to nothing, and a way to see what was packed.
pub(crate) fn echoes(columns: u8) -> Vec<u8> {
    Guest::both().columns(columns).process("(call $ok (local.get $batch) (local.get $length))").build()
}

/// Returns an error of its own, these words.
pub(crate) fn fails(words: &str) -> Vec<u8> {
    let length = words.len();
    Guest::both()
        .items(&format!(r#"(data (i32.const {SCRATCH}) "{}")"#, text(words.as_bytes())))
        .process(&format!("(call $err (i32.const {SCRATCH}) (i32.const {length}))"))
        .build()
}

/// Refuses any configuration, in these words.
pub(crate) fn refuses_config(words: &str) -> Vec<u8> {
    let length = words.len();
    Guest::both()
        .items(&format!(r#"(data (i32.const {SCRATCH}) "{}")"#, text(words.as_bytes())))
        .init(&format!("(call $err (i32.const {SCRATCH}) (i32.const {length}))"))
        .build()
}

/// Hostile: never returns.
pub(crate) fn loops() -> Vec<u8> {
    Guest::both().process("(loop $forever (br $forever)) unreachable").build()
}

/// Hostile: never returns from `init`.
pub(crate) fn loops_in_init() -> Vec<u8> {
    Guest::both().init("(loop $forever (br $forever)) unreachable").build()
}

/// Hostile: loops before `init`, while it is instantiated.
pub(crate) fn loops_at_start() -> Vec<u8> {
    Guest::both().items("(func $start (loop $forever (br $forever))) (start $start)").build()
}

/// Hostile: loops after its answer, when it is given its buffer back.
pub(crate) fn loops_after_its_answer() -> Vec<u8> {
    let mut guest = Guest::gate().items("(func $spin (loop $forever (br $forever)))").module();
    let free = format!("(param i32) (global.set $next (i32.const {HEAP})))");
    assert!(guest.contains(&free), "the function that frees");
    guest = guest.replace(&free, "(param i32) (call $spin))");
    component(WIT, "gate-plugin", &guest)
}

/// Hostile: traps.
pub(crate) fn traps() -> Vec<u8> {
    Guest::both().process("unreachable").build()
}

/// Hostile: calls itself until the stack ends.
pub(crate) fn overflows_the_stack() -> Vec<u8> {
    Guest::both()
        .items("(func $deeper (param i64) (result i64) (i64.add (i64.const 1) (call $deeper (local.get 0))))")
        .process("(drop (call $deeper (i64.const 0))) unreachable")
        .build()
}

/// Hostile: takes memory until there is none, then traps as an allocator does.
pub(crate) fn hogs_memory() -> Vec<u8> {
    Guest::both()
        .process("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable")
        .build()
}

/// Takes memory until it is refused, and makes do.
pub(crate) fn takes_all_memory_and_goes_on() -> Vec<u8> {
    Guest::both()
        .process(&format!("(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) {KEEP_ALL}"))
        .build()
}

/// Asks for so many pages before it does anything.
pub(crate) fn starts_with(pages: u32) -> Vec<u8> {
    Guest::both().memory(&pages.to_string()).build()
}

/// Frees nothing: each batch takes its own length.
pub(crate) fn leaks() -> Vec<u8> {
    Guest::both().leaking().build()
}

/// Hostile: hands back so many bytes, which it has.
pub(crate) fn floods(bytes: u32) -> Vec<u8> {
    Guest::both()
        .process(&format!("(call $ok (call $alloc (i32.const 8) (i32.const {bytes})) (i32.const {bytes}))"))
        .build()
}

/// Hostile: hands back a list that lies outside its memory.
pub(crate) fn answers_from_outside() -> Vec<u8> {
    Guest::both().process("(call $ok (i32.const 0x7fff0000) (i32.const 4096))").build()
}

/// Logs so many lines of so many bytes a batch, at `info`.
pub(crate) fn logs(lines: u32, bytes: u32) -> Vec<u8> {
    Guest::both()
        .imports(LOG)
        .process(&format!(
            r#"(local $n i32) (local $line i32)
            (local.set $line (call $alloc (i32.const 1) (i32.const {bytes})))
            (memory.fill (local.get $line) (i32.const 0x6c) (i32.const {bytes}))
            (loop $again
                (call $log (i32.const 2) (local.get $line) (i32.const {bytes}))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const {lines}))))
            {KEEP_ALL}"#
        ))
        .build()
}

/// Hostile: logs bytes that are not text.
pub(crate) fn logs_what_is_no_text() -> Vec<u8> {
    Guest::both()
        .imports(LOG)
        .items(&format!(r#"(data (i32.const {SCRATCH}) "\ff\fe\fd\fc")"#))
        .process(&format!("(call $log (i32.const 2) (i32.const {SCRATCH}) (i32.const 4)) {KEEP_ALL}"))
        .build()
}

/// Adds 1 to so many counters, `m00` and on, sets the gauge `level` to 2.5, and adds to one that has no name.
pub(crate) fn counts(names: u32) -> Vec<u8> {
    Guest::both()
        .imports(METRICS)
        .items(r#"(data (i32.const 128) "level m")"#)
        .process(&format!(
            r#"(local $n i32)
            (call $set (i32.const 128) (i32.const 5) (f64.const 2.5))
            (call $add (i32.const 128) (i32.const 0) (i64.const 1))
            (loop $again
                (i32.store8 (i32.const 135) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 10))))
                (i32.store8 (i32.const 136) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
                (call $add (i32.const 134) (i32.const 3) (i64.const 1))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const {names}))))
            {KEEP_ALL}"#
        ))
        .build()
}

/// A component that imports what is not granted.
pub(crate) fn imports_a_clock() -> Vec<u8> {
    component(
        "package wasi:clocks@0.2.0;
        interface wall-clock { now: func() -> u64; }
        world w { import wall-clock; }",
        "w",
        r#"(module (import "wasi:clocks/wall-clock@0.2.0" "now" (func (result i64))))"#,
    )
}

/// A component that exports `gate` with functions of other types.
pub(crate) fn gate_of_other_types() -> Vec<u8> {
    component(
        "package sluice:plugin@0.1.0;
        interface gate { init: func(config: u32) -> u32; process: func(batch: u32) -> u32; }
        world w { export gate; }",
        "w",
        r#"(module
            (func (export "sluice:plugin/gate@0.1.0#init") (param i32) (result i32) (local.get 0))
            (func (export "sluice:plugin/gate@0.1.0#process") (param i32) (result i32) (local.get 0)))"#,
    )
}

/// A component that exports a gate of a version to come.
pub(crate) fn gate_of_another_version() -> Vec<u8> {
    component(
        "package sluice:plugin@0.9.0; interface gate { init: func(); } world w { export gate; }",
        "w",
        r#"(module (func (export "sluice:plugin/gate@0.9.0#init")))"#,
    )
}

/// A component that imports the log with a function of another type.
pub(crate) fn log_of_another_type() -> Vec<u8> {
    component(
        "package sluice:plugin@0.1.0;
        interface log { write: func(line: u32); }
        interface gate { init: func(); }
        world w { import log; export gate; }",
        "w",
        r#"(module (import "sluice:plugin/log@0.1.0" "write" (func (param i32)))
            (func (export "sluice:plugin/gate@0.1.0#init")))"#,
    )
}

/// A core module, as it is before it becomes a component.
pub(crate) fn core_module() -> Vec<u8> {
    wat::parse_str("(module)").expect("a module")
}

/// Hostile: takes the compiler long. So many functions, each a long chain of blocks with many live values.
pub(crate) fn slow_to_compile(functions: u32, blocks: u32) -> Vec<u8> {
    let block: String = (0..64)
        .map(|n| format!("(local.set {n} (i64.add (local.get {}) (local.get {})))", (n + 7) % 64, (n + 31) % 64))
        .collect();
    let body: String = (0..blocks).map(|_| format!("(if (i64.eqz (local.get 3)) (then {block}))")).collect();
    let locals = "i64 ".repeat(64);
    let items: String = (0..functions).map(|n| format!("(func $f{n} (local {locals}) {body})")).collect();
    Guest::gate().items(&items).build()
}
