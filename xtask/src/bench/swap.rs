//! How long records wait for a hot swap, and what many swaps cost.
//!
//! The topic is full before a host starts, so that its workers are never idle. One run goes over and over again between two
//! builds of the same component; another run over the same topic does not, and is what it is compared with.

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use xshell::{Shell, cmd};

use super::{
    Bed,
    flow::{Flow, Seen},
    host::{Host, Http, PATIENCE, Site},
    judge,
};
use crate::setup;

const TOPIC: &str = "clicks";
/// Records that a run processes before it is measured: caches are warm, and the workers share the lanes.
const WARM_UP: u64 = 500_000;
/// Records that two fast cores process at most from one swap to the next, to a build that was compiled before.
const KNOWN_BUILD: u64 = 150_000;
/// The same when it is compiled first: the compiler gets what the load leaves it.
const NEW_BUILD: u64 = 1_500_000;
/// How long a run may take for what is left of the topic.
const TO_THE_END: Duration = Duration::from_secs(3600);

/// Options of the measurement.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many swaps.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    swaps: u32,
    /// Makes each swap one to a new build, which is compiled first, beside the load.
    #[arg(long)]
    compile: bool,
    /// How many records the topic has: more than a run reads while it swaps.
    #[arg(long)]
    records: Option<u64>,
    /// Writes the figures into a file, as one JSON object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(shell: &Shell, bed: &Bed, options: &Options) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("tidemill-bench").tempdir()?;
    let records = options.records.unwrap_or_else(|| {
        let each = if options.compile { NEW_BUILD } else { KNOWN_BUILD };
        4 * WARM_UP + u64::from(options.swaps) * each
    });
    let component = fs::read(shell.current_dir().join("host/components/clean-clicks.wasm"))?;
    let site = |name: &str| Site::new(folder.path().join(name), bed, TOPIC, &component);
    let (swapping, steady) = (site("swapping")?, site("steady")?);

    setup::say(&format!("filling a topic with {records} records"));
    let (tidemill, brokers, count) = (&bed.tidemill, bed.servers.brokers(), records.to_string());
    cmd!(
        shell,
        "{tidemill} produce --brokers {brokers} --topic {TOPIC} --partitions 4 --records {count}"
    )
    .quiet()
    .run()?;

    setup::say(&format!("{} swaps under load", options.swaps));
    let mut swaps = Run::start(bed, &swapping)?;
    let mut pauses = swaps.swap(&component, options)?;
    let swapped = swaps.flow.seen();
    ensure!(
        swapped.records() < records,
        "all records were read before the last swap: run this again with more than `--records {records}`"
    );
    swaps.end(bed, records)?;

    setup::say("the same topic without swaps");
    let mut plain = Run::start(bed, &steady)?;
    let unswapped = plain.for_seconds(swapped.seconds(), records);
    plain.end(bed, records)?;

    setup::say("comparing the rows of both");
    let verdict = judge::compare(shell, bed, &swapping, &steady)?;
    pauses.sort_by(f64::total_cmp);
    let figures = Figures { records, pauses, swapped, unswapped, verdict };
    figures.show();
    if let Some(file) = &options.json {
        fs::write(file, format!("{:#}\n", figures.json()))
            .with_context(|| format!("failed to write {}", file.display()))?;
    }
    if !figures.verdict.is_good() {
        bail!("the run with swaps has other rows than the one without: {:?}", figures.verdict);
    }
    Ok(())
}

/// A build of a component: it does the same, and its digest is another.
fn build(component: &[u8], number: u32) -> Vec<u8> {
    // A custom section, which no runtime looks at: its id, its length, its name with its length, and what it holds.
    [component, &b"\x00\x0a\x05build"[..], &number.to_le_bytes()[..]].concat()
}

/// A host that works at a topic, watched.
struct Run<'a> {
    site: &'a Site,
    host: Host,
    flow: Flow,
}

impl<'a> Run<'a> {
    /// Starts it, and begins to measure when it is warm.
    fn start(bed: &Bed, site: &'a Site) -> Result<Self> {
        let mut host = Host::start(&bed.tidemill, site)?;
        let flow = Flow::of(&host)?;
        host.wait("records flow", PATIENCE, |_| {
            Ok((flow.seen().records() >= WARM_UP).then_some(()))
        })?;
        flow.mark();
        Ok(Self { site, host, flow })
    }

    /// Swaps again and again; the pauses in milliseconds.
    fn swap(&mut self, component: &[u8], options: &Options) -> Result<Vec<f64>> {
        let mut http = Http::connect(&self.host.listen)?;
        let mut events = Http::connect(&self.host.listen)?.events()?;
        let mut pauses = Vec::new();
        for number in 1..=options.swaps {
            let number = if options.compile { number } else { number % 2 };
            http.upload(&build(component, number))?;
            pauses.push(loop {
                let event = events.next().context("the host's events ended")??;
                match event["kind"].as_str() {
                    Some("swapped") => {
                        let pause = event["pause_seconds"].as_f64();
                        break pause.context("a swap has a pause")? * 1000.0;
                    }
                    Some("refused") => bail!("a build was refused: {event}"),
                    _ => {}
                }
            });
        }
        Ok(pauses)
    }

    /// What flows in that time, or until nothing is left.
    fn for_seconds(&mut self, seconds: f64, records: u64) -> Seen {
        loop {
            let seen = self.flow.seen();
            if seen.seconds() >= seconds || seen.records() >= records {
                return seen;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Waits until all is committed, ends the host and has its log checked.
    fn end(mut self, bed: &Bed, records: u64) -> Result<()> {
        drop(self.flow);
        let mut http = Http::connect(&self.host.listen)?;
        self.host.wait("all records are committed", TO_THE_END, |_| {
            Ok((http.records("committed")? >= records).then_some(()))
        })?;
        self.host.drain()?;
        judge::verify(&bed.tidemill, self.site)
    }
}

/// What was measured.
struct Figures {
    records: u64,
    /// Milliseconds, rising.
    pauses: Vec<f64>,
    swapped: Seen,
    unswapped: Seen,
    verdict: judge::Verdict,
}

impl Figures {
    /// The pause that this share of the swaps do not exceed.
    fn pause(&self, share: f64) -> f64 {
        let rank = (share * self.pauses.len() as f64).ceil();
        let place = self.pauses.iter().enumerate().find(|(place, _)| (place + 1) as f64 >= rank);
        place.map_or(0.0, |(_, pause)| *pause)
    }

    fn ratio(&self) -> f64 {
        self.swapped.records_per_second() / self.unswapped.records_per_second()
    }

    #[expect(clippy::print_stdout, reason = "a chore talks to the person who called it")]
    fn show(&self) {
        let Self { records, pauses, swapped, unswapped, verdict } = self;
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|share| self.pause(share));
        let gap = |seen: &Seen| seen.longest_gap.as_secs_f64() * 1000.0;
        println!("cores                      {:>12}", cores());
        println!("records                    {records:>12}");
        println!("swaps                      {:>12}   in {:.1} s", pauses.len(), swapped.seconds());
        println!("pause p50                  {p50:>12.2} ms");
        println!("pause p95                  {p95:>12.2} ms");
        println!("pause p99                  {p99:>12.2} ms");
        println!("pause max                  {max:>12.2} ms");
        println!("while swapping             {:>12.0} records/s", swapped.records_per_second());
        println!("without swaps              {:>12.0} records/s", unswapped.records_per_second());
        println!("ratio                      {:>12.2}", self.ratio());
        println!("longest gap while swapping {:>12.1} ms", gap(swapped));
        println!("longest gap without swaps  {:>12.1} ms", gap(unswapped));
        println!(
            "lost, foreign, doubled     {:>12}",
            format!("{}, {}, {}", verdict.lost, verdict.foreign, verdict.doubled)
        );
    }

    fn json(&self) -> serde_json::Value {
        let Self { records, pauses, swapped, unswapped, verdict } = self;
        json!({
            "bench": "swap",
            "cores": cores(),
            "records": records,
            "swaps": pauses.len(),
            "swapping_seconds": swapped.seconds(),
            "pause_p50_ms": self.pause(0.5),
            "pause_p95_ms": self.pause(0.95),
            "pause_p99_ms": self.pause(0.99),
            "pause_max_ms": self.pause(1.0),
            "swapping_records_per_second": swapped.records_per_second(),
            "steady_records_per_second": unswapped.records_per_second(),
            "throughput_ratio": self.ratio(),
            "swapping_longest_gap_ms": swapped.longest_gap.as_secs_f64() * 1000.0,
            "steady_longest_gap_ms": unswapped.longest_gap.as_secs_f64() * 1000.0,
            "rows": verdict.rows,
            "lost_records": verdict.lost,
            "foreign_records": verdict.foreign,
            "doubled_rows": verdict.doubled,
        })
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(0, usize::from)
}
