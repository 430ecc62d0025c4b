//! Adds a country's name and currency to each payment, from a table in the pipeline's configuration.

use std::collections::BTreeMap;

use tidemill_sdk::prelude::*;

/// The settings of the transform.
#[config]
#[derive(Debug)]
pub struct Config {
    /// What is known of each country, by its code.
    countries: BTreeMap<String, Country>,
}

/// What is known of a country.
#[config]
#[derive(Debug)]
pub struct Country {
    name: String,
    currency: String,
}

/// What is read of a payment.
#[derive(Row, Debug)]
pub struct Payment<'a> {
    country: &'a str,
}

/// A payment with what is known of its country.
#[derive(Row, Debug, PartialEq)]
pub struct Enriched<'a> {
    id: Carry<String>,
    amount: Carry<Decimal<18, 2>>,
    country: Carry<String>,
    country_name: &'a str,
    currency: &'a str,
}

#[transform]
fn enrich(
    payment: Payment<'_>,
    config: &Config,
    out: &mut Output<Enriched<'_>>,
) -> Result<(), Reject> {
    let Some(Country { name, currency }) = config.countries.get(payment.country) else {
        metrics::count("unknown_countries", &[("country", payment.country)], 1);
        return Err(Reject::new(format_args!("unknown country `{}`", payment.country)));
    };
    out.emit(Enriched { id: Carry, amount: Carry, country: Carry, country_name: name, currency });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_countries_up() {
        let json = r#"{"countries": {"DE": {"name": "Germany", "currency": "EUR"}}}"#;
        let config = enrich::configure(json).unwrap();
        let run =
            enrich::test_with(&config, [Payment { country: "XX" }, Payment { country: "DE" }]);
        let (country_name, currency) = ("Germany", "EUR");
        let row = Enriched { id: Carry, amount: Carry, country: Carry, country_name, currency };
        assert_eq!(run.rows::<Enriched<'_>>("enrich"), [row]);
        assert_eq!(run.rejected(), [(0, "unknown country `XX`".to_owned())]);
        assert_eq!(run.metrics()[0].name, "unknown_countries");
    }

    #[test]
    fn refuses_a_configuration_that_does_not_fit() {
        let error = enrich::configure(r#"{"countrys": {}}"#).unwrap_err();
        assert!(error.contains("unknown field `countrys`, expected `countries`"), "{error}");
    }
}
