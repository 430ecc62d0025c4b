//! The next version of `clean-clicks`: it also tells the page of a click. A column that may be null is all that a newer
//! version may add, so this one can be swapped in while records flow.

use tidemill_sdk::prelude::*;

/// What is read of a click.
#[derive(Row, Debug)]
pub struct Click<'a> {
    email: Option<&'a str>,
    amount: f64,
    url: &'a str,
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
    page: Option<&'a str>,
}

#[transform]
fn clean(click: Click<'_>, out: &mut Output<Clean<'_>>) -> Result<(), Reject> {
    if click.amount <= 0.0 {
        return Ok(());
    }
    let domain = match click.email.ok_or("no e-mail address")?.split_once('@') {
        Some((name, domain)) if !name.is_empty() && !domain.is_empty() && !domain.contains('@') => {
            Lower(domain)
        }
        _ => return Err("malformed e-mail address".into()),
    };
    #[expect(clippy::cast_possible_truncation, reason = "it saturates at 2^63 cents")]
    let amount_cents = (click.amount * 100.0).round() as i64;
    let page = page(click.url);
    out.emit(Clean {
        ts: Carry,
        user: Carry,
        domain,
        country: Carry,
        url: Carry,
        amount_cents,
        items: Carry,
        page,
    });
    Ok(())
}

/// The path of a URL, without what follows `?`.
fn page(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let path = &rest[rest.find('/')?..];
    path.split(['?', '#']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_page() {
        let click = |url| Click { email: Some("ada@example.org"), amount: 1.0, url };
        let urls = ["https://shop.example/p/7?from=mail", "https://shop.example", "shop.example"];
        let run = clean::test(urls.map(click));
        let pages: Vec<_> = run.rows::<Clean<'_>>("clean").iter().map(|row| row.page).collect();
        assert_eq!(pages, [Some("/p/7"), None, None]);
    }
}
