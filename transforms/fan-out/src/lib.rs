//! Splits orders into two outputs: the order itself, and a row for each of its items.

use tidemill_sdk::prelude::*;

/// What is read of an order.
#[derive(Row, Debug)]
pub struct Order<'a> {
    id: &'a str,
    items: Vec<Item<'a>>,
}

/// An item of an order.
#[derive(Row, Debug)]
pub struct Item<'a> {
    sku: &'a str,
    quantity: i32,
    price_cents: i64,
}

/// A row of the output `orders`.
#[derive(Row, Debug, PartialEq)]
pub struct Total<'a> {
    id: &'a str,
    customer: Carry<String>,
    total_cents: i64,
}

/// A row of the output `items`.
#[derive(Row, Debug, PartialEq)]
pub struct Line<'a> {
    order: &'a str,
    sku: &'a str,
    quantity: i32,
}

#[transform]
fn fan_out(
    order: Order<'_>,
    orders: &mut Output<Total<'_>>,
    items: &mut Output<Line<'_>>,
) -> Result<(), Reject> {
    let mut total_cents = 0;
    for Item { sku, quantity, price_cents } in order.items {
        if quantity < 1 {
            return Err(Reject::new(format_args!("{quantity} pieces of {sku}")));
        }
        total_cents += i64::from(quantity) * price_cents;
        items.emit(Line { order: order.id, sku, quantity });
    }
    orders.emit(Total { id: order.id, customer: Carry, total_cents });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_and_its_items_or_nothing() {
        let item = |sku, quantity| Item { sku, quantity, price_cents: 250 };
        let run = fan_out::test([
            Order { id: "a", items: vec![item("nut", 2), item("bolt", 1)] },
            Order { id: "b", items: vec![item("nut", 1), item("bolt", 0)] },
            Order { id: "c", items: vec![] },
        ]);
        let total = |id, total_cents| Total { id, customer: Carry, total_cents };
        assert_eq!(run.rows::<Total<'_>>("orders"), [total("a", 750), total("c", 0)]);
        let line = |order, sku, quantity| Line { order, sku, quantity };
        assert_eq!(run.rows::<Line<'_>>("items"), [line("a", "nut", 2), line("a", "bolt", 1)]);
        assert_eq!(run.rejected(), [(1, "0 pieces of bolt".to_owned())]);
    }
}
