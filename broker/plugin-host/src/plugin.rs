//! A plugin whose code is loaded: the component, checked against the worlds it claims, and ready to be instantiated.

use wasmtime::{
    Engine, Store,
    component::{Component, ComponentExportIndex, InstancePre, Linker, types::ComponentItem},
};

use crate::{
    inspect::{Kind, Kinds, Manifest},
    instance::{Init, InitParams, InitResults, Process, ProcessParams, ProcessResults, State},
};

/// A plugin's code, loaded once and shared by its bindings.
pub struct Plugin {
    digest: [u8; 32],
    manifest: Manifest,
    pre: InstancePre<State>,
    gate: Option<Exports>,
    view: Option<Exports>,
}

/// Where the functions of an interface are.
#[derive(Clone, Copy)]
struct Exports {
    init: ComponentExportIndex,
    process: ComponentExportIndex,
}

impl Plugin {
    /// Checks the component's types against our worlds; the error says what does not fit.
    pub(crate) fn new(
        digest: [u8; 32],
        manifest: Manifest,
        component: &Component,
        linker: &Linker<State>,
    ) -> Result<Self, String> {
        let pre = linker.instantiate_pre(component).map_err(|error| format!("{error:#}"))?;
        let exports = |kind: Kind| manifest.kinds.has(kind).then(|| Exports::of(component, kind)).transpose();
        Ok(Self { digest, manifest, gate: exports(Kind::Gate)?, view: exports(Kind::View)?, pre })
    }

    /// The SHA-256 of its binary.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// How it can be bound.
    pub fn kinds(&self) -> Kinds {
        self.manifest.kinds
    }

    /// Its length in bytes, as it was pushed.
    pub fn size(&self) -> usize {
        self.manifest.size
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// An instance in `store`, and the two functions of its interface. Whoever binds has checked that the plugin has
    /// the kind.
    pub(crate) fn instantiate(&self, store: &mut Store<State>, kind: Kind) -> wasmtime::Result<(Init, Process)> {
        let exports = match kind {
            Kind::Gate => self.gate,
            Kind::View => self.view,
        };
        let Some(exports) = exports else {
            return Err(wasmtime::Error::msg("the plugin has no such kind"));
        };
        let instance = self.pre.instantiate(&mut *store)?;
        let init = instance.get_typed_func::<InitParams, InitResults>(&mut *store, exports.init)?;
        let process = instance.get_typed_func::<ProcessParams, ProcessResults>(&mut *store, exports.process)?;
        Ok((init, process))
    }
}

impl Exports {
    fn of(component: &Component, kind: Kind) -> Result<Self, String> {
        let name = kind.interface();
        let missing = |function: &str| format!("`{name}` has no function `{function}`");
        let engine = component.engine();
        let whole = component.component_type();
        let Some(ComponentItem::ComponentInstance(interface)) = whole.get_export(engine, name).map(|export| export.ty)
        else {
            return Err(format!("`{name}` is not exported as an interface"));
        };
        let types = whole.instance_type();
        for function in ["init", "process"] {
            let Some(ComponentItem::ComponentFunc(found)) =
                interface.get_export(engine, function).map(|export| export.ty)
            else {
                return Err(missing(function));
            };
            let fits = match function {
                "init" => found.typecheck::<InitParams, InitResults>(&types),
                _ => found.typecheck::<ProcessParams, ProcessResults>(&types),
            };
            fits.map_err(|error| format!("`{function}` of `{name}` has another type: {error:#}"))?;
        }
        let index = component.get_export_index(None, name).ok_or_else(|| missing("init"))?;
        let function =
            |function: &str| component.get_export_index(Some(&index), function).ok_or_else(|| missing(function));
        Ok(Self { init: function("init")?, process: function("process")? })
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}
