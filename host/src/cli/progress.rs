//! Progress bars and rates for people; bars only on a terminal.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over a number of records, on standard error if that is a terminal.
pub(super) fn bar(records: u64) -> ProgressBar {
    let template = "{wide_bar} {human_pos} of {human_len} records  {per_sec}  {eta} left  {msg}";
    styled(ProgressBar::with_draw_target(Some(records), target()), template)
}

/// A line without an end, on standard error if that is a terminal.
pub(super) fn line() -> ProgressBar {
    styled(ProgressBar::with_draw_target(None, target()), "{spinner} {elapsed}  {msg}")
}

/// Shows a line: above the bar on a terminal, as it is elsewhere.
pub(super) fn say(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() {
        eprintln!("{line}");
    } else {
        bar.println(line);
    }
}

fn target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    bar.with_style(ProgressStyle::with_template(template).expect("the template is ours"))
}

/// Records a second, for people: `88,123 records/s`.
pub(super) fn rate(records: u64, took: Duration) -> String {
    let nanos = took.as_nanos().max(1);
    let rate = u64::try_from(u128::from(records) * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
    format!("{} records/s", indicatif::HumanCount(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_readable() {
        assert_eq!(rate(200_000, Duration::from_secs(2)), "100,000 records/s");
        assert_eq!(rate(5, Duration::ZERO), "5,000,000,000 records/s");
    }
}
