//! `#[transform]`.

use proc_macro2::{Ident, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Error, FnArg, GenericArgument, GenericParam, ItemFn, Pat, PatType, PathArguments, Result,
    ReturnType, Type, TypeReference, spanned::Spanned,
};

use crate::sdk;

pub(crate) fn expand(arguments: &TokenStream, function: &ItemFn) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`#[transform]` takes no arguments"));
    }
    refuse_qualifiers(function)?;
    let Parameters { input, config, outputs, arguments } = Parameters::of(function)?;

    let sdk = sdk();
    let visibility = &function.vis;
    let name = &function.sig.ident;
    // Of the macro's own making, so that no lint asks for a type's name in camel case.
    let transform = Ident::new(&name.to_string(), Span::call_site());
    let doc = format!("The transform that [`{name}`](fn@{name}) is.");
    let (config, configure) = match config {
        Some(config) => {
            (quote!(#config), quote_spanned!(config.span()=> #sdk::configure::<#config>(json)))
        }
        None => (quote!(()), quote!(#sdk::unconfigured(json))),
    };
    let output_names = outputs.iter().map(|output| &output.name);
    let output_types = chain(outputs.iter().map(|output| {
        let row = in_record(&output.row);
        quote_spanned!(output.row.span()=> #sdk::Output<#row>)
    }));
    let output_variables = chain(outputs.iter().map(|output| output.variable.to_token_stream()));
    let input = in_record(input);
    let outcome = match &function.sig.output {
        ReturnType::Default => quote!(#sdk::Outcome::outcome),
        ReturnType::Type(_, ty) => quote_spanned!(ty.span()=> <#ty as #sdk::Outcome>::outcome),
    };
    let [config_, input_, records_, index_, outputs_] =
        ["config", "input", "records", "index", "outputs"].map(variable);

    Ok(quote! {
        #function

        #[doc = #doc]
        #visibility enum #transform {}

        #[automatically_derived]
        impl #sdk::Transform for #transform {
            const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
            const OUTPUTS: &'static [&'static str] = &[#(#output_names),*];

            type Input<'record> = #input;
            type Config = #config;
            type Outputs<'record> = #output_types;

            fn configure(json: &str) -> ::core::result::Result<Self::Config, ::std::string::String> {
                #configure
            }

            fn apply<'record>(
                #config_: &Self::Config,
                #input_: Self::Input<'record>,
                #records_: &#sdk::Records<'record>,
                #index_: usize,
                #outputs_: &mut Self::Outputs<'record>,
            ) -> ::core::result::Result<(), #sdk::Reject> {
                let #output_variables = #outputs_;
                #outcome(#name(#(#arguments),*))
            }
        }

        // A component's exports do not link natively; there, the transform is what tests call.
        #[cfg(target_family = "wasm")]
        #sdk::export!(#transform);
        #[cfg(not(target_family = "wasm"))]
        const _: #sdk::Process<#transform> = #sdk::process::<#transform>;
    })
}

/// A variable that can't clash with the user's names.
fn variable(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

fn refuse_qualifiers(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let refused: [(Option<&dyn ToTokens>, &str); 4] = [
        (
            signature.asyncness.as_ref().map(|it| it as _),
            "a transform can't be async: it is called once a record, and returns",
        ),
        (signature.unsafety.as_ref().map(|it| it as _), "a transform can't be unsafe"),
        (signature.abi.as_ref().map(|it| it as _), "a transform has no ABI of its own"),
        (
            signature
                .generics
                .params
                .iter()
                .find(|it| !matches!(it, GenericParam::Lifetime(_)))
                .map(|it| it as _),
            "a transform can't be generic over types or constants",
        ),
    ];
    match refused.into_iter().find_map(|(token, why)| Some((token?, why))) {
        Some((token, why)) => Err(Error::new_spanned(token, why)),
        None => Ok(()),
    }
}

/// What a transform's function takes.
struct Parameters<'a> {
    input: &'a Type,
    config: Option<&'a Type>,
    outputs: Vec<Output<'a>>,
    /// What the function is called with, in its order.
    arguments: Vec<TokenStream>,
}

struct Output<'a> {
    name: String,
    row: &'a Type,
    variable: Ident,
}

impl<'a> Parameters<'a> {
    fn of(function: &'a ItemFn) -> Result<Self> {
        let (mut input, mut record, mut config, mut outputs, mut arguments) =
            (None, None, None, Vec::new(), Vec::new());
        for parameter in &function.sig.inputs {
            let FnArg::Typed(parameter) = parameter else {
                return Err(Error::new_spanned(
                    parameter,
                    "a transform is a function, not a method",
                ));
            };
            match &*parameter.ty {
                Type::Reference(TypeReference { mutability: Some(_), elem, .. }) => {
                    let output = Output::of(parameter, elem, &function.sig.ident)?;
                    arguments.push(output.variable.to_token_stream());
                    outputs.push(output);
                }
                Type::Reference(TypeReference { elem, .. }) if config.is_none() => {
                    config = Some(&**elem);
                    arguments.push(variable("config").to_token_stream());
                }
                ty if input.is_none() && !matches!(ty, Type::Reference(_)) => {
                    input = Some(ty);
                    arguments.push(variable("input").to_token_stream());
                }
                ty if record.is_none() && !matches!(ty, Type::Reference(_)) => {
                    record = Some(ty);
                    let [records, index] = ["records", "index"].map(variable);
                    arguments.push(quote!(#records.get(#index)));
                }
                ty => {
                    return Err(Error::new_spanned(
                        ty,
                        "a transform takes an input, a `Record<'_>`, a `&Config` and outputs; this is one more",
                    ));
                }
            }
        }
        let parameters = &function.sig.ident;
        let input = input.ok_or_else(|| {
            Error::new_spanned(
                parameters,
                "a transform takes its input by value: add a row or `Raw<'_>`",
            )
        })?;
        if outputs.is_empty() {
            return Err(Error::new_spanned(
                parameters,
                "a transform needs an output: add `out: &mut Output<…>`",
            ));
        }
        Ok(Self { input, config, outputs, arguments })
    }
}

impl<'a> Output<'a> {
    fn of(parameter: &'a PatType, ty: &'a Type, function: &Ident) -> Result<Self> {
        let row = row_of(ty).ok_or_else(|| {
            Error::new_spanned(ty, "the only thing that a transform takes by `&mut` is `Output<…>`")
        })?;
        let Pat::Ident(pattern) = &*parameter.pat else {
            return Err(Error::new_spanned(
                &parameter.pat,
                "an output is called like its parameter: give it a name",
            ));
        };
        let ident = if pattern.ident == "out" { function } else { &pattern.ident };
        let name = ident.to_string();
        if !name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')) || name.len() > 63 {
            return Err(Error::new_spanned(
                ident,
                "an output's name has 1 to 63 characters of a-z, 0-9 and _",
            ));
        }
        if name == "dead_letters" {
            return Err(Error::new_spanned(ident, "`dead_letters` is the host's own output"));
        }
        Ok(Self { name, row, variable: variable(&format!("output_{}", pattern.ident)) })
    }
}

/// The row of `Output<Row>`.
fn row_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Output")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(row)) if arguments.args.len() == 1 => Some(row),
        _ => None,
    }
}

/// The type with all its lifetimes those of the record.
fn in_record(ty: &impl ToTokens) -> TokenStream {
    let mut tokens = Vec::new();
    let mut lifetime = false;
    for token in ty.to_token_stream() {
        let span = token.span();
        tokens.push(match token {
            TokenTree::Ident(_) if std::mem::take(&mut lifetime) => {
                TokenTree::Ident(Ident::new("record", span))
            }
            TokenTree::Group(group) => {
                let mut inner =
                    proc_macro2::Group::new(group.delimiter(), in_record(&group.stream()));
                inner.set_span(span);
                TokenTree::Group(inner)
            }
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                lifetime = true;
                TokenTree::Punct(Punct::new('\'', Spacing::Joint))
            }
            other => other,
        });
    }
    tokens.into_iter().collect()
}

/// A chain of pairs: `(a, (b, ()))`.
fn chain(items: impl DoubleEndedIterator<Item = TokenStream>) -> TokenStream {
    items.rev().fold(quote!(()), |rest, item| quote!((#item, #rest)))
}
