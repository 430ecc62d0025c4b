use tidemill_sdk::prelude::*;

struct Plain {
    id: i64,
}

#[derive(Row)]
struct Click {
    id: i64,
}

#[transform]
fn from_plain(plain: Plain, out: &mut Output<Click>) {
    out.emit(Click { id: plain.id });
}

#[transform]
fn returns(click: Click, out: &mut Output<Click>) -> i64 {
    out.emit(Click { id: click.id });
    1
}

fn main() {}
