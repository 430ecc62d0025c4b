//! `#[derive(Row)]`.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    Data, DataStruct, DeriveInput, Error, Field, Fields, GenericParam, Lifetime, LitStr, Result,
    ext::IdentExt, parse_quote, spanned::Spanned,
};

use crate::sdk;

pub(crate) fn expand(item: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(DataStruct { fields: Fields::Named(fields), .. }) = &item.data else {
        return Err(Error::new_spanned(&item.ident, "a row is a struct with named fields"));
    };
    if fields.named.is_empty() {
        return Err(Error::new_spanned(&item.ident, "a row has at least one field"));
    }
    let lifetime = lifetime(item)?;
    let sdk = sdk();
    let row = &item.ident;
    let (own, at, row_at) = match &lifetime {
        Some(lifetime) => (quote!(<#lifetime>), quote!(<'at>), quote!(#row<#lifetime>)),
        None => (quote!(), quote!(), quote!(#row)),
    };
    let read: Lifetime = lifetime.clone().unwrap_or_else(|| parse_quote!('row));

    let names: Vec<_> = fields.named.iter().map(|field| &field.ident).collect();
    let types: Vec<_> = fields.named.iter().map(|field| &field.ty).collect();
    let columns = fields.named.iter().map(column).collect::<Result<Vec<_>>>()?;
    let mut seen = HashSet::new();
    if let Some(twice) = columns.iter().find(|column| !seen.insert(column.name.value())) {
        return Err(Error::new(
            twice.name.span(),
            format!("two fields are called `{}`", twice.name.value()),
        ));
    }
    let column_names: Vec<_> = columns.iter().map(|column| &column.name).collect();
    let pushes = columns.iter().zip(&types).map(|(Column { name, from }, ty)| match from {
        None => quote_spanned!(ty.span()=> fields.push::<#ty>(#name, ::core::option::Option::None);),
        Some(from) => quote_spanned! {from.span()=>
            const { ::core::assert!(<#ty as #sdk::Value>::CARRIED, "only a field of type `Carry<…>` comes `from` another"); }
            fields.push::<#ty>(#name, ::core::option::Option::Some(#from));
        },
    });
    let readers = tree(
        types.iter().map(|ty| quote_spanned!(ty.span()=> <#ty as #sdk::Decode<#read>>::Reader)),
    );
    let builders =
        tree(types.iter().map(|ty| quote_spanned!(ty.span()=> <#ty as #sdk::Encode>::Builder)));
    let takes = tree(
        column_names
            .iter()
            .zip(&types)
            .map(|(name, ty)| quote_spanned!(ty.span()=> columns.field::<#ty>(#name, len)?)),
    );
    let places: Vec<_> = (0..types.len()).map(|place| path(place, types.len())).collect();

    Ok(quote! {
        #[automatically_derived]
        impl #own #sdk::Value for #row_at {
            const DATA_TYPE: #sdk::DataType = {
                ::core::assert!(
                    !(false #(|| <#types as #sdk::Value>::CARRIED)*),
                    "a carried field stands in the row itself, not in a nested one"
                );
                #sdk::DataType::StructOf
            };

            fn children(fields: &mut #sdk::Fields) {
                #(#pushes)*
            }
        }

        #[automatically_derived]
        impl #own #sdk::Present for #row_at {}

        #[automatically_derived]
        impl<#read> #sdk::Decode<#read> for #row_at {
            type Reader = #readers;

            fn reader(
                columns: &mut #sdk::Columns<#read>,
                len: usize,
            ) -> ::core::result::Result<Self::Reader, ::std::string::String> {
                columns.take_struct()?;
                ::core::result::Result::Ok(#takes)
            }

            fn read(reader: &Self::Reader, index: usize) -> Self {
                Self { #(#names: <#types as #sdk::Decode<#read>>::read(&reader #places, index),)* }
            }
        }

        #[automatically_derived]
        impl #own #sdk::Encode for #row_at {
            type Builder = #sdk::Struct<#builders>;

            fn append(&self, builder: &mut Self::Builder) {
                #(<#types as #sdk::Encode>::append(&self.#names, &mut builder.0 #places);)*
            }
        }

        #[automatically_derived]
        impl #own #sdk::Row for #row_at {
            type At<'at> = #row #at;
        }
    })
}

/// The row's lifetime, if it borrows.
fn lifetime(item: &DeriveInput) -> Result<Option<Lifetime>> {
    let mut lifetime = None;
    for parameter in &item.generics.params {
        match parameter {
            GenericParam::Lifetime(parameter) if lifetime.is_none() => {
                lifetime = Some(parameter.lifetime.clone())
            }
            GenericParam::Lifetime(_) => {
                return Err(Error::new_spanned(parameter, "a row has at most one lifetime"));
            }
            _ => {
                return Err(Error::new_spanned(
                    parameter,
                    "a row can't be generic over types or constants",
                ));
            }
        }
    }
    Ok(lifetime)
}

/// How a field's column is called.
struct Column {
    name: LitStr,
    from: Option<LitStr>,
}

fn column(field: &Field) -> Result<Column> {
    let ident = field.ident.as_ref().expect("the fields are named");
    let mut column =
        Column { name: LitStr::new(&ident.unraw().to_string(), ident.span()), from: None };
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("rename") {
                column.name = meta.value()?.parse()?;
            } else if meta.path.is_ident("from") {
                column.from = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("expected `rename = \"…\"` or `from = \"…\"`"));
            }
            Ok(())
        })?;
    }
    Ok(column)
}

/// A balanced tree of pairs, so that wide rows do not nest deep: `((a, b), (c, (d, e)))`.
fn tree(items: impl Iterator<Item = TokenStream>) -> TokenStream {
    fn pair(items: &[TokenStream]) -> TokenStream {
        let [item] = items else {
            let (left, right) = items.split_at(items.len() / 2);
            let (left, right) = (pair(left), pair(right));
            return quote!((#left, #right));
        };
        item.clone()
    }
    pair(&items.collect::<Vec<_>>())
}

/// The way to an item in such a tree: `.1.1.0`.
fn path(place: usize, len: usize) -> TokenStream {
    let left = len / 2;
    let (step, rest) = match place {
        _ if len == 1 => return TokenStream::new(),
        place if place < left => (quote!(.0), path(place, left)),
        place => (quote!(.1), path(place - left, len - left)),
    };
    quote!(#step #rest)
}
