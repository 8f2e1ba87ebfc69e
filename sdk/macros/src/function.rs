//! The function the attribute stands on: its name, and the configuration it takes.

use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, Result, Type, Visibility};

/// What the attribute needs to know of the function. That its types are the right ones is left to the compiler, whose
/// messages then point at the author's own code.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a Ident,
    pub(crate) visibility: &'a Visibility,
    /// The type behind the last argument's reference.
    pub(crate) config: Option<&'a Type>,
}

impl<'a> Function<'a> {
    pub(crate) fn read(item: &'a ItemFn, batch: bool) -> Result<Self> {
        let signature = &item.sig;
        let refuse = |span: proc_macro2::Span, message: &str| Err(Error::new(span, message));
        if let Some(asyncness) = &signature.asyncness {
            return refuse(asyncness.span(), "a plugin has nothing to wait for");
        }
        if signature.generics.type_params().next().is_some() || signature.generics.const_params().next().is_some() {
            return refuse(signature.generics.span(), "a plugin's function takes its own configuration, not any type");
        }
        let given = if batch { 2 } else { 1 };
        let expected = if batch {
            "expected (batch: &Batch<'_>, verdicts: &mut Verdicts) or (batch: &Batch<'_>, verdicts: &mut Verdicts, config: &Config)"
        } else {
            "expected (record: &Record<'_>) or (record: &Record<'_>, config: &Config)"
        };
        let arguments: Vec<_> = signature.inputs.iter().collect();
        let config = match arguments.get(given..) {
            Some([]) => None,
            Some([FnArg::Typed(last)]) => match &*last.ty {
                Type::Reference(reference) if reference.mutability.is_none() => Some(&*reference.elem),
                other => return refuse(other.span(), "the configuration is borrowed: config: &Config"),
            },
            _ => return refuse(signature.inputs.span(), expected),
        };
        Ok(Self { name: &signature.ident, visibility: &item.vis, config })
    }
}
