//! What the code of a source file names: its paths, as they are seen from the root of the crate, and its texts.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Arm, Attribute, Field, FieldValue, ImplItem, Item, ItemExternCrate, ItemMod, ItemUse, LitStr,
    Macro, Meta, Path, Stmt, TraitItem, UseTree, Variant,
    visit::{self, Visit},
};

/// What stands in a file outside its tests, its comments and its documentation.
#[derive(Debug, Default)]
pub(crate) struct Code {
    /// Segments of each path; `self` and `super` are resolved, a glob ends in `*`.
    paths: BTreeSet<Vec<String>>,
    texts: BTreeSet<String>,
}

impl Code {
    /// Reads a file. `module` is its place in its crate: `["engine", "cache"]`.
    ///
    /// # Panics
    /// When it is no Rust.
    pub(crate) fn parse(module: Vec<String>, text: &str) -> Self {
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{module:?}: {error}"));
        let mut walk = Walk { module, code: Self::default() };
        walk.visit_file(&file);
        walk.code
    }

    /// Whether it names something at or below a path, such as `crate::store` or `std::fs`.
    pub(crate) fn names(&self, path: &str) -> bool {
        let wanted: Vec<&str> = path.split("::").collect();
        self.paths.iter().any(|path| match path.split_last() {
            // A glob of what it stands in names it as well.
            Some((last, above)) if last == "*" && above.len() < wanted.len() => {
                above.iter().eq(&wanted[..above.len()])
            }
            _ => path.len() >= wanted.len() && path[..wanted.len()].iter().eq(&wanted),
        })
    }

    /// Whether a text begins so.
    pub(crate) fn says(&self, beginning: &str) -> bool {
        self.texts.iter().any(|text| text.starts_with(beginning))
    }
}

struct Walk {
    module: Vec<String>,
    code: Code,
}

impl Walk {
    fn name(&mut self, path: Vec<String>) {
        let supers = path.iter().take_while(|segment| *segment == "super").count();
        let (above, rest) = match path.first().map(String::as_str) {
            Some("self") => (self.module.len(), &path[1..]),
            Some("super") => (self.module.len().saturating_sub(supers), &path[supers..]),
            _ => {
                self.code.paths.insert(path);
                return;
            }
        };
        let root = std::iter::once("crate".to_owned()).chain(self.module[..above].to_vec());
        let resolved: Vec<String> = root.chain(rest.to_vec()).collect();
        self.code.paths.insert(resolved);
    }

    fn imports(&mut self, above: &[String], tree: &UseTree) {
        let below = |name: &dyn ToString| [above, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.imports(&below(&path.ident), &path.tree),
            UseTree::Name(name) if name.ident == "self" => self.name(above.to_vec()),
            UseTree::Name(name) => self.name(below(&name.ident)),
            UseTree::Rename(name) if name.ident == "self" => self.name(above.to_vec()),
            UseTree::Rename(name) => self.name(below(&name.ident)),
            UseTree::Glob(_) => self.name(below(&"*")),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.imports(above, tree)),
        }
    }

    /// Paths and texts of what only a macro understands.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.name(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.name(std::mem::take(&mut path));
                    colons = 0;
                    match other {
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Literal(literal) => {
                            let text = syn::parse_str::<LitStr>(&literal.to_string());
                            self.code.texts.extend(text.map(|text| text.value()));
                        }
                        _ => {}
                    }
                }
            }
        }
        self.name(path);
    }
}

/// Whether what follows these attributes is compiled for tests only.
fn is_for_tests(node: &impl ToTokens) -> bool {
    let mut tokens = node.to_token_stream().into_iter();
    while let (Some(TokenTree::Punct(hash)), Some(TokenTree::Group(group))) =
        (tokens.next(), tokens.next())
    {
        if hash.as_char() != '#' {
            return false;
        }
        let text = group.stream().to_string().replace(' ', "");
        if text == "test" || text == "cfg(test)" || text.starts_with("cfg(all(test,") {
            return true;
        }
    }
    false
}

/// Visits what is not for tests alone.
macro_rules! outside_tests {
    ($($method:ident: $node:ty;)+) => {$(
        fn $method(&mut self, node: &'ast $node) {
            if !is_for_tests(node) {
                visit::$method(self, node);
            }
        }
    )+};
}

impl<'ast> Visit<'ast> for Walk {
    outside_tests! {
        visit_item: Item;
        visit_impl_item: ImplItem;
        visit_trait_item: TraitItem;
        visit_stmt: Stmt;
        visit_field: Field;
        visit_field_value: FieldValue;
        visit_variant: Variant;
        visit_arm: Arm;
    }

    fn visit_item_mod(&mut self, node: &'ast ItemMod) {
        self.module.push(node.ident.to_string());
        visit::visit_item_mod(self, node);
        self.module.pop();
    }

    fn visit_item_use(&mut self, node: &'ast ItemUse) {
        self.imports(&[], &node.tree);
    }

    fn visit_item_extern_crate(&mut self, node: &'ast ItemExternCrate) {
        self.name(vec![node.ident.to_string()]);
    }

    fn visit_path(&mut self, node: &'ast Path) {
        self.name(node.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, node);
    }

    fn visit_lit_str(&mut self, node: &'ast LitStr) {
        self.code.texts.insert(node.value());
    }

    fn visit_macro(&mut self, node: &'ast Macro) {
        self.visit_path(&node.path);
        self.tokens(node.tokens.clone());
    }

    fn visit_attribute(&mut self, node: &'ast Attribute) {
        if node.path().is_ident("doc") {
            return;
        }
        match &node.meta {
            Meta::List(list) => {
                self.visit_path(&list.path);
                self.tokens(list.tokens.clone());
            }
            meta => visit::visit_meta(self, meta),
        }
    }
}
