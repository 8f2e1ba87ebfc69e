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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(item: &str, batch: bool, expected: std::result::Result<Option<&str>, &str>) {
        let item = syn::parse_str(item).unwrap();
        let read = Function::read(&item, batch);
        let config = |function: Function<'_>| function.config.map(|config| quote::quote!(#config).to_string());
        let read = read.map(config).map_err(|error| error.to_string());
        assert_eq!(read, expected.map(|config| config.map(str::to_owned)).map_err(str::to_owned), "{}", item.sig.ident);
    }

    #[test]
    fn functions_and_what_is_refused_of_them() {
        let record = "expected (record: &Record<'_>) or (record: &Record<'_>, config: &Config)";
        check("fn plain(record: &Record<'_>) -> Verdict {}", false, Ok(None));
        check("fn configured(r: &Record<'_>, c: &my::Config) -> Verdict {}", false, Ok(Some("my :: Config")));
        check("fn a_lifetime<'a>(r: &'a Record<'a>) -> Verdict {}", false, Ok(None));
        check("fn whole(b: &Batch<'_>, v: &mut Verdicts) {}", true, Ok(None));
        check("fn whole_configured(b: &Batch<'_>, v: &mut Verdicts, c: &Config) {}", true, Ok(Some("Config")));
        check("fn nothing() -> Verdict {}", false, Err(record));
        check("fn too_much(r: &Record<'_>, c: &Config, x: u8) -> Verdict {}", false, Err(record));
        let batch = "expected (batch: &Batch<'_>, verdicts: &mut Verdicts) or (batch: &Batch<'_>, verdicts: &mut Verdicts, config: &Config)";
        check("fn too_little(b: &Batch<'_>) {}", true, Err(batch));
        let borrowed = "the configuration is borrowed: config: &Config";
        check("fn owned(r: &Record<'_>, c: Config) -> Verdict {}", false, Err(borrowed));
        check("fn mutable(r: &Record<'_>, c: &mut Config) -> Verdict {}", false, Err(borrowed));
        check("async fn waits(r: &Record<'_>) -> Verdict {}", false, Err("a plugin has nothing to wait for"));
        let generic = "a plugin's function takes its own configuration, not any type";
        check("fn generic<C>(r: &Record<'_>, c: &C) -> Verdict {}", false, Err(generic));
    }
}
