//! The bindings of `wit/v0.1`, generated.

wit_bindgen::generate!({
    path: "../wit/v0.1",
    world: "transformer",
    ownership: Borrowing { duplicate_if_necessary: false },
    additional_derives: [PartialEq],
    runtime_path: "wit_bindgen::rt",
    pub_export_macro: true,
    export_macro_name: "export_transformer",
    default_bindings_module: "tidemill_sdk::bindings",
});
