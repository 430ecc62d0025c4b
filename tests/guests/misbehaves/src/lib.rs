//! A transform that does what a record tells it to: for the tests of the host's limits.

use tidemill_sdk::prelude::*;

/// Taken and left alone: `malformed`, when it comes as the next version of this guest, is told by it what to do at its
/// start.
#[config]
#[derive(Debug)]
pub struct Config {
    /// What to do.
    pub start: Option<String>,
}

/// What to do.
#[derive(Row, Debug)]
pub struct Order<'a> {
    act: &'a str,
}

/// What was done.
#[derive(Row, Debug, PartialEq)]
pub struct Done<'a> {
    act: &'a str,
}

#[transform]
fn done(order: Order<'_>, _: &Config, out: &mut Output<Done<'_>>) -> Result<(), Reject> {
    match order.act {
        "panic" => panic!("told to panic"),
        "spin" => loop {
            std::hint::black_box(());
        },
        #[expect(
            clippy::disallowed_methods,
            reason = "a guest that sleeps is what the host has to bear"
        )]
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        "exit" => std::process::exit(3),
        "eat" => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&eaten);
            }
        }
        "leak" => std::mem::forget(vec![1_u8; 10 << 20]),
        "overflow" => drop(deep(1)),
        "flood" => (0..20_000).for_each(|line| log::info!("flood line {line}")),
        #[expect(clippy::print_stdout, reason = "the host takes a guest's output into its log")]
        "flood an output" => (0..20_000).for_each(|line| print!("flood piece {line}, ")),
        "flood and panic" => {
            (0..20).for_each(|line| log::info!("flood line {line}"));
            panic!("told to panic");
        }
        "reject" => return Err("told to reject".into()),
        _ => {}
    }
    out.emit(Done { act: order.act });
    Ok(())
}

/// Calls itself until no stack is left.
fn deep(depth: u64) -> u64 {
    if std::hint::black_box(depth) == u64::MAX { depth } else { 1 + deep(depth + 1) }
}
