use std::collections::HashMap;

use tidemill_sdk::prelude::*;

#[derive(Row)]
struct Small {
    size: u16,
}

#[derive(Row)]
struct Large {
    sizes: Vec<Option<u64>>,
}

#[derive(Row)]
struct Map {
    labels: HashMap<String, String>,
}

#[derive(Row)]
struct Carried {
    maybe: Option<Carry<String>>,
}

#[derive(Row)]
struct From {
    #[row(from = "ua")]
    agent: String,
}

fn main() {}
