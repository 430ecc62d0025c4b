//! A transform that wants more than a host offers: it looks into the books of a shop.

use tidemill_sdk::prelude::*;

/// The interface that no host offers.
mod ledger {
    wit_bindgen::generate!({
        inline: "
            package shop:ledger@0.1.0;

            interface book {
                balance: func(account: u64) -> s64;
            }

            world reader {
                import book;
            }
        ",
    });
}

/// Whose balance to look up.
#[derive(Row, Debug)]
pub struct Order {
    account: i64,
}

/// What the books say.
#[derive(Row, Debug, PartialEq)]
pub struct Balance {
    cents: i64,
}

#[transform]
fn balances(order: Order, out: &mut Output<Balance>) {
    let cents = ledger::shop::ledger::book::balance(order.account.unsigned_abs());
    out.emit(Balance { cents });
}
