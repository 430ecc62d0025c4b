use tidemill_sdk::prelude::*;

#[derive(Row)]
struct Click {
    id: i64,
}

#[transform]
async fn waits(click: Click, out: &mut Output<Click>) {}

#[transform]
fn silent(click: Click) {}

#[transform]
fn blind(out: &mut Output<Click>) {}

#[transform]
fn vec(click: Click, out: &mut Vec<Click>) {}

#[transform]
fn shouts(click: Click, Clicks: &mut Output<Click>) {}

#[transform]
fn reserved(click: Click, dead_letters: &mut Output<Click>) {}

#[transform(name = "x")]
fn named(click: Click, out: &mut Output<Click>) {}

fn main() {}
