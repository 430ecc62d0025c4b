use tidemill_sdk::prelude::*;

#[derive(Row)]
struct Pair(String, i64);

#[derive(Row)]
struct Nothing {}

#[derive(Row)]
struct Generic<T> {
    value: T,
}

#[derive(Row)]
struct Twice {
    id: i64,
    #[row(rename = "id")]
    key: i64,
}

#[derive(Row)]
struct Misspelt {
    #[row(name = "user-agent")]
    agent: String,
}

fn main() {}
