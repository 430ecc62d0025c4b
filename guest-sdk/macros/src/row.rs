//! `#[derive(Row)]`.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{
    Data, DataStruct, DeriveInput, Error, Field, Fields, GenericArgument, GenericParam, Lifetime,
    LitStr, PathArguments, PathSegment, Result, Type, ext::IdentExt, parse_quote, spanned::Spanned,
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
    let pushes = columns.iter().zip(&types).map(|(Column { name, from }, ty)| {
        let from = from.as_ref().map_or_else(
            || quote!(::core::option::Option::None),
            |from| quote!(::core::option::Option::Some(#from)),
        );
        quote_spanned!(ty.span()=> fields.push::<#ty>(#name, #from);)
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
    let (mut reads, mut appends) = (Vec::new(), Vec::new());
    for (place, (name, ty)) in names.iter().zip(&types).enumerate() {
        let path = path(place, types.len());
        reads.push(quote_spanned!(ty.span()=> #name: <#ty as #sdk::Decode<#read>>::read(&reader #path, index),));
        appends.push(quote_spanned!(ty.span()=> <#ty as #sdk::Encode>::append(&self.#name, &mut builder.0 #path);));
    }

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
                Self { #(#reads)* }
            }
        }

        #[automatically_derived]
        impl #own #sdk::Encode for #row_at {
            type Builder = #sdk::Struct<#builders>;

            fn append(&self, builder: &mut Self::Builder) {
                #(#appends)*
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
    if let (Some(from), false) =
        (&column.from, segment(&field.ty).is_some_and(|last| last.ident == "Carry"))
    {
        return Err(Error::new(
            from.span(),
            "only a field of type `Carry<…>` comes `from` another",
        ));
    }
    refuse_type(&field.ty)?;
    Ok(column)
}

/// Refuses types that can't be fields and are often tried, in better words than the compiler has.
fn refuse_type(ty: &Type) -> Result<()> {
    let Some(last) = segment(ty) else { return Ok(()) };
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(inner) => inner
            .args
            .iter()
            .filter_map(|inner| if let GenericArgument::Type(ty) = inner { Some(ty) } else { None })
            .collect(),
        _ => Vec::new(),
    };
    let name = last.ident.to_string();
    let instead = match name.as_str() {
        "u8" | "i8" | "u16" | "i16" => "take `i32`",
        "u32" => "take `i64`",
        "u64" | "usize" | "isize" | "u128" | "i128" => "take `i64` or `Decimal<20, 0>`",
        "char" => "take `&str` or `String`",
        "HashMap" => "take `BTreeMap`, whose order is always the same",
        "HashSet" | "BTreeSet" | "VecDeque" => "take `Vec`",
        "Option"
            if inner.iter().any(|ty| segment(ty).is_some_and(|last| last.ident == "Carry")) =>
        {
            "a carried field that may be null is a `Carry<Option<…>>`"
        }
        "Vec" if inner.iter().any(|ty| segment(ty).is_some_and(|last| last.ident == "u8")) => {
            return Ok(());
        }
        _ => return inner.into_iter().try_for_each(refuse_type),
    };
    let shown = quote!(#ty).to_string().replace(' ', "");
    Err(Error::new_spanned(ty, format!("`{shown}` can't be a field of a row: {instead}")))
}

/// The last segment of a type's path.
fn segment(ty: &Type) -> Option<&PathSegment> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last()
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
