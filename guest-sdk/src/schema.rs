//! Fields as a descriptor lists them.

use crate::{
    bindings::tidemill::transform::types::{Field, InputSchema, Origin, OutputSchema, Usage},
    value::Value,
};

/// Fields in pre-order, as they are listed.
#[derive(Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    /// One for each top-level field: the input field that it is carried from, if it is carried.
    origins: Vec<Option<String>>,
}

impl Fields {
    /// Lists a field and its children. `from` is the input field that a carried field comes from: by default, the one of its own name.
    pub fn push<T: Value>(&mut self, name: &str, from: Option<&str>) {
        let mut children = Self::default();
        T::children(&mut children);
        self.list.push(Field {
            name: name.to_owned(),
            data_type: T::DATA_TYPE,
            nullable: T::NULLABLE,
            children: u32::try_from(children.origins.len())
                .expect("a struct has fewer than 2^32 fields"),
        });
        self.list.append(&mut children.list);
        self.origins.push(T::CARRIED.then(|| from.unwrap_or(name).to_owned()));
    }

    /// The top-level fields with their children, each with its origin.
    fn trees(&self) -> impl Iterator<Item = (&[Field], Option<&str>)> {
        let mut rest = self.list.as_slice();
        self.origins.iter().map(move |origin| {
            let (tree, others) = rest.split_at(tree_len(rest));
            rest = others;
            (tree, origin.as_deref())
        })
    }

    /// These fields as an output.
    pub(crate) fn into_output(self, name: &str) -> OutputSchema {
        let origins = self
            .origins
            .into_iter()
            .map(|origin| origin.map_or(Origin::Computed, Origin::Input))
            .collect();
        OutputSchema { name: name.to_owned(), fields: self.list, origins }
    }

    /// These fields as an input, with the fields that `outputs` carry across.
    ///
    /// # Errors
    /// When a field is carried as another type than the input or another output has it.
    pub(crate) fn into_input<'a>(
        self,
        outputs: impl IntoIterator<Item = &'a Self>,
    ) -> Result<InputSchema, String> {
        let mut input: Vec<(Vec<Field>, Usage)> = self
            .trees()
            .map(|(tree, origin)| {
                (tree.to_vec(), if origin.is_some() { Usage::Carry } else { Usage::Read })
            })
            .collect();
        let declared = input.len();
        for (tree, from) in
            outputs.into_iter().flat_map(Self::trees).filter_map(|(tree, from)| Some((tree, from?)))
        {
            let Some(at) = input.iter().position(|(known, _)| known[0].name == from) else {
                let mut tree = tree.to_vec();
                tree[0].name = from.to_owned();
                input.push((tree, Usage::Carry));
                continue;
            };
            let known = &mut input[at].0;
            if known[0].data_type != tree[0].data_type || known[1..] != tree[1..] {
                return Err(format!(
                    "`{}` carries input field `{from}`, but their types differ",
                    tree[0].name
                ));
            }
            if known[0].nullable && !tree[0].nullable {
                if at < declared {
                    return Err(format!(
                        "`{}` carries `{from}`, which may be null: make it `Carry<Option<…>>`",
                        tree[0].name
                    ));
                }
                known[0].nullable = false;
            }
        }
        let (trees, usages): (Vec<_>, _) = input.into_iter().unzip();
        Ok(InputSchema { fields: trees.concat(), usages })
    }
}

/// How many fields the first tree of `fields` has.
fn tree_len(fields: &[Field]) -> usize {
    (0..fields[0].children).fold(1, |len, _| len + tree_len(&fields[len..]))
}
