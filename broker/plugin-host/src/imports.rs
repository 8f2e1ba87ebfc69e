//! What plugins can call: the log and the metrics of the WIT package, and nothing else. Each call is short, bounded,
//! and never fails the plugin: what is over the binding's volume is counted and dropped.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::{Mutex, RwLock};
use wasmtime::{
    Engine, Result, StoreContextMut,
    component::{ComponentType, Lift, Linker, WasmStr},
};

use crate::{
    inspect::{LOG, METRICS},
    instance::State,
    limits::{LOG_LINE_BYTES_MAX, Limits, METRIC_NAME_BYTES_MAX, VOLUME_WINDOW},
    observer::{BindingName, Level, Observer},
};

/// Links what is granted.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    linker.instance(LOG)?.func_wrap(
        "write",
        |cx: StoreContextMut<'_, State>, (level, line): (WitLevel, WasmStr)| {
            let voice = &cx.data().voice;
            if voice.may_log() {
                voice.log(level.into(), &line.to_str(&cx)?);
            }
            Ok(())
        },
    )?;
    let mut metrics = linker.instance(METRICS)?;
    metrics.func_wrap("add", |cx: StoreContextMut<'_, State>, (name, delta): (WasmStr, u64)| {
        let voice = &cx.data().voice;
        let name = name.to_str(&cx)?;
        if voice.knows(&name) {
            voice.observer.add(&voice.binding, &name, delta);
        }
        Ok(())
    })?;
    metrics.func_wrap("set", |cx: StoreContextMut<'_, State>, (name, value): (WasmStr, f64)| {
        let voice = &cx.data().voice;
        let name = name.to_str(&cx)?;
        if voice.knows(&name) {
            voice.observer.set(&voice.binding, &name, value);
        }
        Ok(())
    })?;
    Ok(linker)
}

/// `log.level`, as it crosses.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by lifting alone")]
enum WitLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

impl From<WitLevel> for Level {
    fn from(level: WitLevel) -> Self {
        match level {
            WitLevel::Trace => Self::Trace,
            WitLevel::Debug => Self::Debug,
            WitLevel::Info => Self::Info,
            WitLevel::Warn => Self::Warn,
            WitLevel::Error => Self::Error,
        }
    }
}

/// What a binding says, over all its instances: its volume and its names are the binding's.
pub(crate) struct Voice {
    binding: BindingName,
    observer: Arc<dyn Observer>,
    limits: Arc<RwLock<Limits>>,
    window: Mutex<Window>,
    names: Mutex<HashSet<Box<str>>>,
    lines_dropped: AtomicU64,
    updates_dropped: AtomicU64,
}

/// The window that goes on, and what was said in it.
struct Window {
    began: Instant,
    lines: u32,
    bytes: usize,
    dropped: u64,
}

impl Window {
    fn new(began: Instant) -> Self {
        Self { began, lines: 0, bytes: 0, dropped: 0 }
    }
}

impl Voice {
    pub(crate) fn new(binding: BindingName, observer: Arc<dyn Observer>, limits: Arc<RwLock<Limits>>) -> Self {
        Self {
            binding,
            observer,
            limits,
            window: Mutex::new(Window::new(Instant::now())),
            names: Mutex::default(),
            lines_dropped: AtomicU64::new(0),
            updates_dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn binding(&self) -> &BindingName {
        &self.binding
    }

    pub(crate) fn lines_dropped(&self) -> u64 {
        self.lines_dropped.load(Relaxed)
    }

    pub(crate) fn updates_dropped(&self) -> u64 {
        self.updates_dropped.load(Relaxed)
    }

    /// Whether a line is still within the volume. Asked before the line is even read, so that a flood costs next to
    /// nothing.
    fn may_log(&self) -> bool {
        let (lines, bytes) = {
            let limits = self.limits.read();
            (limits.log_lines, limits.log_bytes)
        };
        let now = Instant::now();
        let mut window = self.window.lock();
        let mut ended = 0;
        if now.duration_since(window.began) >= VOLUME_WINDOW {
            ended = std::mem::replace(&mut *window, Window::new(now)).dropped;
        }
        let may = window.lines < lines && window.bytes < bytes;
        if may {
            window.lines += 1;
        } else {
            window.dropped += 1;
            self.lines_dropped.fetch_add(1, Relaxed);
        }
        drop(window);
        if ended > 0 {
            self.observer.lines_dropped(&self.binding, ended);
        }
        may
    }

    fn log(&self, level: Level, line: &str) {
        let line = &line[..line.floor_char_boundary(LOG_LINE_BYTES_MAX)];
        self.window.lock().bytes += line.len();
        self.observer.log(&self.binding, level, line);
    }

    /// Whether the name is one of the binding's; a new one becomes one while there is room.
    fn knows(&self, name: &str) -> bool {
        let max = self.limits.read().metric_names;
        let mut names = self.names.lock();
        let known = names.contains(name) || (names.len() < max && is_metric_name(name) && names.insert(name.into()));
        if !known {
            self.updates_dropped.fetch_add(1, Relaxed);
        }
        known
    }
}

/// Letters, digits and `_`, not a digit first: what every monitoring system takes as a name.
fn is_metric_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    name.len() <= METRIC_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
}
