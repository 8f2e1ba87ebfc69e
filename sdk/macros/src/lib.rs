//! `#[plugin]`: makes a function of one record (or of one batch) a plugin.
//!
//! It writes three things beside the function: a type of the same name, which tests hand to the driver; the
//! implementation of `sluice_sdk::Plugin` for it; and, when compiled for wasm32, the component's exports, with the WIT
//! package they are checked against written into the code, so that a plugin's crate needs no file of ours.

#![forbid(unsafe_code)]

mod arguments;
mod function;

use arguments::Arguments;
use function::Function;
use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};

/// The worlds a plugin's exports are checked against.
const WIT: &str = include_str!("../../../wit/plugin.wit");

/// Makes a function a plugin. One a crate.
///
/// ```text
/// #[plugin(gate, view)]
/// fn name(record: &Record<'_>, config: &Config) -> Verdict
/// ```
///
/// The function takes a `&Record<'_>` and, if the plugin has a configuration, a reference to a type that is
/// `serde::Deserialize`. It returns a `Verdict`, or a `Result<Verdict, E>` whose error fails the batch.
///
/// What the attribute takes:
///
/// - `gate`, `view`: where the plugin may be bound; at least one of them.
/// - `columns(keys, values, headers, timestamps)`: what it wants to see. All, unless said. What is not asked for does not
///   cross into the plugin: a plugin that looks at values alone and says so saves the copy of everything else.
///   Reading what was not asked for panics, in the first test. Or `columns = path`: a function
///   `fn(&Config) -> Columns`, where the configuration decides.
/// - `check = path`: a function `fn(&Config, Kind) -> Result<(), E>`, for what serde cannot say of a configuration.
/// - `batch`: the function takes the whole batch, `fn(&Batch<'_>, &mut Verdicts)` or `fn(&Batch<'_>, &mut Verdicts, &Config)`,
///   and returns nothing or a `Result<(), E>`.
#[proc_macro_attribute]
pub fn plugin(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = syn::parse_macro_input!(arguments as Arguments);
    let item = syn::parse_macro_input!(item as syn::ItemFn);
    match Function::read(&item, arguments.batch) {
        Ok(function) => {
            let plugin = implementation(&arguments, &function);
            let exports = exports(&arguments, &function);
            quote!(#item #plugin #exports).into()
        }
        Err(error) => error.into_compile_error().into(),
    }
}

fn implementation(arguments: &Arguments, function: &Function<'_>) -> Tokens {
    let Function { name, visibility, config } = function;
    let columns = arguments.columns();
    let kinds = arguments.kinds.iter().map(|kind| format_ident!("{}", kind.variant));
    let unit: syn::Type = syn::parse_quote!(());
    let config_type = config.unwrap_or(&unit);
    let config_argument = config.map(|_| quote!(config));
    let process = if arguments.batch {
        quote!(::sluice_sdk::IntoDone::into_done(#name(batch, verdicts, #config_argument)))
    } else {
        quote!(::sluice_sdk::each_record(batch, verdicts, |record| #name(record, #config_argument)))
    };
    let check = match &arguments.check {
        Some(path) => quote!(#path(config, kind).map_err(|error| ::std::string::ToString::to_string(&error))),
        None => quote!(::std::result::Result::Ok(())),
    };
    let doc = format!("The plugin [`{name}()`] as a type: what a test hands to the driver.");
    quote! {
        #[doc = #doc]
        #[allow(non_camel_case_types)]
        #visibility struct #name {}

        impl ::sluice_sdk::Plugin for #name {
            type Config = #config_type;
            const KINDS: &'static [::sluice_sdk::Kind] = &[#(::sluice_sdk::Kind::#kinds),*];

            #[allow(unused_variables)]
            fn columns(config: &Self::Config) -> ::sluice_sdk::Columns {
                #columns
            }

            #[allow(unused_variables)]
            fn check(config: &Self::Config, kind: ::sluice_sdk::Kind) -> ::std::result::Result<(), ::std::string::String> {
                #check
            }

            #[allow(unused_variables)]
            fn process(
                batch: &::sluice_sdk::Batch<'_>,
                verdicts: &mut ::sluice_sdk::Verdicts,
                config: &Self::Config,
            ) -> ::std::result::Result<(), ::std::string::String> {
                #process
            }
        }
    }
}

/// The component's exports. wit-bindgen's unsafe code is allowed here and nowhere else, so that a plugin's crate may deny it.
fn exports(arguments: &Arguments, function: &Function<'_>) -> Tokens {
    let name = function.name;
    let world = arguments.world();
    let exports = arguments.kinds.iter().map(|kind| {
        let interface = format_ident!("{}", kind.name);
        let variant = format_ident!("{}", kind.variant);
        let slot = format_ident!("{}", kind.name.to_uppercase());
        quote! {
            ::std::thread_local! {
                static #slot: ::sluice_sdk::__guest::Slot<super::#name> = const { ::sluice_sdk::__guest::Slot::new() };
            }

            impl exports::sluice::plugin::#interface::Guest for Component {
                fn init(
                    config: ::std::string::String,
                ) -> ::std::result::Result<exports::sluice::plugin::#interface::Descriptor, ::std::string::String> {
                    let columns = #slot.with(|slot| slot.init(::sluice_sdk::Kind::#variant, &config))?;
                    ::std::result::Result::Ok(sluice::plugin::types::Descriptor {
                        columns: [
                            (::sluice_sdk::Columns::KEYS, sluice::plugin::types::Columns::KEYS),
                            (::sluice_sdk::Columns::VALUES, sluice::plugin::types::Columns::VALUES),
                            (::sluice_sdk::Columns::HEADERS, sluice::plugin::types::Columns::HEADERS),
                            (::sluice_sdk::Columns::TIMESTAMPS, sluice::plugin::types::Columns::TIMESTAMPS),
                        ]
                        .into_iter()
                        .filter(|(column, _)| columns.has(*column))
                        .fold(sluice::plugin::types::Columns::empty(), |all, (_, flag)| all | flag),
                    })
                }

                fn process(
                    batch: ::std::vec::Vec<u8>,
                ) -> ::std::result::Result<::std::vec::Vec<u8>, ::std::string::String> {
                    #slot.with(|slot| slot.process(&batch))
                }
            }
        }
    });
    quote! {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, missing_docs, unreachable_pub, unused_qualifications, elided_lifetimes_in_paths, clippy::all)]
        mod sluice_plugin_exports {
            ::sluice_sdk::__guest::wit_bindgen::generate!({
                inline: #WIT,
                world: #world,
                runtime_path: "::sluice_sdk::__guest::wit_bindgen::rt",
                generate_all,
            });

            struct Component;

            #(#exports)*

            export!(Component);
        }
    }
}
