//! What the attribute takes: `#[plugin(gate, view, columns(values), check = path, batch)]`.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, Path, Result, Token};

/// Where a plugin may be bound.
#[derive(PartialEq, Eq)]
pub(crate) struct Kind {
    /// The attribute's word and the WIT interface's name.
    pub(crate) name: &'static str,
    /// The variant of `sluice_sdk::Kind`.
    pub(crate) variant: &'static str,
}

const GATE: Kind = Kind { name: "gate", variant: "Gate" };
const VIEW: Kind = Kind { name: "view", variant: "View" };

/// The columns, as they are written.
const COLUMN_NAMES: [&str; 4] = ["keys", "values", "headers", "timestamps"];

/// What a plugin asks to see.
enum Columns {
    Named(Vec<Ident>),
    /// A function of the configuration.
    Chosen(Path),
}

/// The attribute's arguments.
pub(crate) struct Arguments {
    /// In the order gate, view; not empty.
    pub(crate) kinds: Vec<Kind>,
    columns: Option<Columns>,
    pub(crate) check: Option<Path>,
    pub(crate) batch: bool,
}

impl Arguments {
    /// The WIT world that exports just these kinds.
    pub(crate) fn world(&self) -> &'static str {
        match self.kinds.as_slice() {
            [one] if *one == GATE => "gate-plugin",
            [_] => "view-plugin",
            _ => "gate-and-view-plugin",
        }
    }

    /// The columns as an expression, in which `config` is the configuration.
    pub(crate) fn columns(&self) -> Tokens {
        match &self.columns {
            None => quote!(::sluice_sdk::Columns::ALL),
            Some(Columns::Chosen(path)) => quote!(#path(config)),
            Some(Columns::Named(named)) => named.iter().fold(quote!(::sluice_sdk::Columns::NONE), |all, column| {
                let column = format_ident!("{}", column.to_string().to_uppercase(), span = column.span());
                quote!(#all.and(::sluice_sdk::Columns::#column))
            }),
        }
    }
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (mut gate, mut view) = (false, false);
        let mut arguments = Self { kinds: Vec::new(), columns: None, check: None, batch: false };
        while !input.is_empty() {
            let word: Ident = input.parse()?;
            let twice = |already: bool| if already { Err(Error::new(word.span(), "said twice")) } else { Ok(()) };
            match word.to_string().as_str() {
                "gate" => twice(std::mem::replace(&mut gate, true))?,
                "view" => twice(std::mem::replace(&mut view, true))?,
                "batch" => twice(std::mem::replace(&mut arguments.batch, true))?,
                "columns" => twice(arguments.columns.replace(columns(input)?).is_some())?,
                "check" => {
                    input.parse::<Token![=]>()?;
                    twice(arguments.check.replace(input.parse()?).is_some())?;
                }
                _ => return Err(Error::new(word.span(), "expected gate, view, columns(...), check = path, or batch")),
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        arguments.kinds =
            [(gate, GATE), (view, VIEW)].into_iter().filter_map(|(said, kind)| said.then_some(kind)).collect();
        if arguments.kinds.is_empty() {
            let message =
                "say where the plugin may be bound: #[plugin(gate)], #[plugin(view)] or #[plugin(gate, view)]";
            return Err(Error::new(Span::call_site(), message));
        }
        Ok(arguments)
    }
}

fn columns(input: ParseStream<'_>) -> Result<Columns> {
    if input.peek(Token![=]) {
        input.parse::<Token![=]>()?;
        return Ok(Columns::Chosen(input.parse()?));
    }
    let content;
    syn::parenthesized!(content in input);
    let named = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?;
    for column in &named {
        if !COLUMN_NAMES.iter().any(|known| column == known) {
            return Err(Error::new(column.span(), format!("not a column; there are {}", COLUMN_NAMES.join(", "))));
        }
    }
    Ok(Columns::Named(named.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_what_they_come_to() {
        let check = |text: &str, world: &str, columns: &str| {
            let arguments: Arguments = syn::parse_str(text).unwrap();
            let read = arguments.columns().to_string().replace(' ', "").replace("::sluice_sdk::Columns::", "");
            assert_eq!((arguments.world(), read.as_str()), (world, columns), "{text}");
        };
        check("gate", "gate-plugin", "ALL");
        check("view,", "view-plugin", "ALL");
        check("view, gate, batch", "gate-and-view-plugin", "ALL");
        check("gate, columns(values, keys)", "gate-plugin", "NONE.and(VALUES).and(KEYS)");
        check("gate, columns()", "gate-plugin", "NONE");
        check("gate, columns = Config::columns, check = check", "gate-plugin", "Config::columns(config)");
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| {
            let error = syn::parse_str::<Arguments>(text).err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), Some(expected), "{text}");
        };
        let nowhere = "say where the plugin may be bound: #[plugin(gate)], #[plugin(view)] or #[plugin(gate, view)]";
        check("", nowhere);
        check("batch", nowhere);
        check("gate, gate", "said twice");
        check("gate, columns(keys), columns(values)", "said twice");
        check("door", "expected gate, view, columns(...), check = path, or batch");
        check("gate, columns(value)", "not a column; there are keys, values, headers, timestamps");
        check("gate view", "expected `,`");
    }
}
