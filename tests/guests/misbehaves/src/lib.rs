//! A transform that does what a record tells it to: for the tests of the host's limits.

use tidemill_sdk::prelude::*;

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
fn done(order: Order<'_>, out: &mut Output<Done<'_>>) -> Result<(), Reject> {
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
        "reject" => return Err("told to reject".into()),
        _ => out.emit(Done { act: order.act }),
    }
    Ok(())
}
