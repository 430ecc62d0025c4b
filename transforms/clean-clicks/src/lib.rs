//! Cleans clicks: keeps those that earned something, and tells the domain of the user's e-mail address.

use tidemill_sdk::prelude::*;

/// What is read of a click.
#[derive(Row, Debug)]
pub struct Click<'a> {
    email: Option<&'a str>,
    amount: f64,
}

/// A clean click.
#[derive(Row, Debug)]
pub struct Clean<'a> {
    ts: Carry<Timestamp>,
    user: Carry<String>,
    domain: Lower<'a>,
    country: Carry<String>,
    url: Carry<String>,
    amount_cents: i64,
    items: Carry<i64>,
}

#[transform]
fn clean(click: Click<'_>, out: &mut Output<Clean<'_>>) -> Result<(), Reject> {
    if click.amount <= 0.0 {
        return Ok(());
    }
    let email = click.email.ok_or("no e-mail address")?;
    let domain = Lower(domain(email).ok_or("malformed e-mail address")?);
    let amount_cents = cents(click.amount);
    out.emit(Clean {
        ts: Carry,
        user: Carry,
        domain,
        country: Carry,
        url: Carry,
        amount_cents,
        items: Carry,
    });
    Ok(())
}

/// What stands behind the one `@` of an address.
fn domain(email: &str) -> Option<&str> {
    let (name, domain) = email.split_once('@')?;
    (!name.is_empty() && !domain.is_empty() && !domain.contains('@')).then_some(domain)
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates at 2^63 cents")]
fn cents(amount: f64) -> i64 {
    (amount * 100.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_then_rejects_then_cleans() {
        let click = |email, amount| Click { email, amount };
        let run = clean::test([
            click(Some("Name.Surname@Example.com"), 12.345),
            click(None, 0.0),
            click(None, 0.01),
            click(Some("nobody@"), 1.0),
            click(Some("a@b@c"), 1.0),
            click(Some("ada@example.org"), 0.29),
        ]);
        let rows = run.rows::<Clean<'_>>("clean");
        let rows: Vec<_> = rows.iter().map(|row| (row.domain.0, row.amount_cents)).collect();
        assert_eq!(rows, [("example.com", 1235), ("example.org", 29)]);
        assert_eq!(run.lineage("clean"), [0, 5]);
        let missing = (2, "no e-mail address".to_owned());
        let malformed = |place| (place, "malformed e-mail address".to_owned());
        assert_eq!(run.rejected(), [missing, malformed(3), malformed(4)]);
    }
}
