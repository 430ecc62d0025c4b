//! `tidemill demo`: all of it in one process, on this machine.

mod place;
mod summary;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanCount, ProgressBar};
use tokio::task::{JoinHandle, spawn_blocking};

use self::{
    place::Place,
    summary::{Held, Summary},
};
use super::{
    flags::shown,
    print, progress,
    run::{Running, end_signal},
};
use crate::{
    config::{self, Given, Host, Kafka},
    fault::Fault,
    generator::Clicks,
    kafka::{self, Ack, Mock, Pace},
    pipeline::{PipelineStatus, State},
    store::Store,
};

/// Partitions of the demo's topic.
const PARTITIONS: usize = 4;

/// How far the generator may be ahead of what is committed. The broker inside keeps 5 MiB a partition and forgets the
/// rest: 40,000 records of 300 bytes in 4 partitions are 3 MB each.
const AHEAD: u64 = 40_000;

/// Records after which the timestamps of an endless demo start over.
const LAP: u64 = 1_000_000;

/// How often the line of rates and `/readyz` are brought up to date.
const LOOK: Duration = Duration::from_millis(100);

/// How often rates are told where there is no terminal.
const TELL: Duration = Duration::from_secs(5);

/// After this long without a commit, while records wait for one, something is broken.
const STALLED: Duration = Duration::from_secs(120);

/// How long the drain at the end may take.
const DRAIN: Duration = Duration::from_secs(30);

/// Runs a broker, a load generator, a transform and the whole pipeline in this process, on this machine alone.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// End when this many records are committed; without it, Ctrl-C ends the demo
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// The folder for all files; what an earlier demo left in it is deleted
    #[arg(long, value_name = "DIR", default_value = ".tidemill/demo")]
    dir: PathBuf,
    /// Address of the HTTP server (the page, /v1, /readyz, /metrics)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A real Kafka instead of the broker inside
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Print one JSON object as the last line
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let end = end_signal()?;
        // A topic of its own: a real Kafka may have the records of an earlier demo.
        let topic = format!("tidemill-demo-{}", chrono::Utc::now().timestamp_millis());
        // The broker inside lives as long as this value.
        let mock =
            if self.brokers.is_none() { Some(Mock::start(&topic, PARTITIONS)?) } else { None };
        let brokers = match (&self.brokers, &mock) {
            (Some(brokers), _) => brokers.clone(),
            (None, mock) => mock.as_ref().map(|mock| mock.brokers().join(",")).unwrap_or_default(),
        };
        let place = Place::prepare(&self.dir, &topic, &brokers)?;
        let host = self.host(&place)?;
        if mock.is_none() {
            let (kafka, topic) = (host.kafka.clone(), topic.clone());
            let created =
                spawn_blocking(move || kafka::create_topic(&kafka, &topic, PARTITIONS)).await;
            created
                .map_err(|panic| Fault::bug("creating the topic panicked").caused_by(panic))??;
        }
        let store = Store::open(&host.store).await?;

        let start = Instant::now();
        let kafka = host.kafka.clone();
        let running = Running::start(host).await?;
        let mut load = Generated::start(kafka, topic, self.records);
        let bar = self.records.map_or_else(progress::line, progress::bar);
        let files = shown(&place.folder);
        progress::say(
            &bar,
            &format!(
                "the page is at http://{}/, files appear in {files}\n\
                 to change the transform while records flow: {}",
                running.address,
                place::swap(&files)
            ),
        );
        let followed = self.follow(&running, &mut load, &bar, end).await;
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        let drained = running.drain(DRAIN).await;
        let (status, sent) = followed?;
        load.end().await?;
        drained?;

        let data = place.folder.join("store/data/clicks");
        let summary = Summary::new(&status, seconds, data.display().to_string());
        let held = Held::read(&store, &status.name).await?;
        self.tell(&summary)?;
        let mistakes = summary.mistakes(sent, &held);
        if mistakes.is_empty() {
            return Ok(());
        }
        Err(Fault::bug(format!("the counts do not add up: {}", mistakes.join("; "))))
    }

    fn host(&self, place: &Place) -> Result<Host, Fault> {
        let name = shown(&place.folder.join("tidemill.toml"));
        let file = config::File { name: &name, text: &place.settings, folder: &place.folder };
        let given =
            Given { key: "http.listen", origin: "--listen".into(), text: self.listen.to_string() };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(config::host(Some(file), &[given], &place.folder, cores)?)
    }

    /// Shows rates until all that was sent is committed. Gives the last status, and how many were sent.
    async fn follow(
        &self,
        running: &Running,
        load: &mut Generated,
        bar: &ProgressBar,
        end: impl Future<Output = ()>,
    ) -> Result<(PipelineStatus, u64), Fault> {
        tokio::pin!(end);
        let mut ended = false;
        let mut ticks = tokio::time::interval(LOOK);
        let mut last = (Instant::now(), 0);
        let start = Instant::now();
        let mut told = start;
        let mut event = 0;
        loop {
            tokio::select! {
                () = &mut end, if !ended => {
                    ended = true;
                    load.stop();
                }
                _ = ticks.tick() => {}
            }
            running.look();
            for happened in running.events.after(event) {
                event = happened.id;
                progress::say(bar, &happened.what.to_string());
            }
            let status = running
                .runtime
                .status()
                .into_iter()
                .find(|pipeline| pipeline.name == place::PIPELINE)
                .ok_or_else(|| Fault::bug("the demo's pipeline is gone"))?;
            if status.state == State::Failed {
                let reason = status.reason.unwrap_or_default();
                return Err(Fault::bug(format!("the demo's pipeline failed: {reason}")));
            }
            let committed = status.committed.records;
            load.committed.store(committed, Ordering::Relaxed);
            bar.set_position(committed);
            bar.set_message(line(&status, start.elapsed()));
            if bar.is_hidden() && told.elapsed() > TELL {
                told = Instant::now();
                progress::say(bar, &line(&status, start.elapsed()));
            }
            let finished = load.is_finished();
            let sent = load.sent.load(Ordering::Relaxed);
            if finished && committed >= sent {
                return Ok((status, sent));
            }
            let rests = [State::Paused, State::Stopped].contains(&status.state);
            if committed > last.1 || sent == committed || rests {
                last = (Instant::now(), committed);
            }
            if last.0.elapsed() > STALLED {
                let text = format!(
                    "{} records were sent and only {} committed",
                    HumanCount(sent),
                    HumanCount(committed)
                );
                return Err(Fault::bug(format!("the demo stalled: {text}")));
            }
        }
    }

    fn tell(&self, summary: &Summary) -> Result<(), Fault> {
        if self.json {
            let json = serde_json::to_string(summary);
            return print(
                json.map_err(|error| Fault::bug("cannot write the summary").caused_by(error))?,
            );
        }
        let rows = summary.rows.get("clean").copied().unwrap_or(0);
        let share = |count: u64| format!("{:>12}", HumanCount(count).to_string());
        print(format_args!("records      {}", share(summary.records)))?;
        print(format_args!(
            "  emitted    {}   {} rows in clean/",
            share(summary.emitted),
            HumanCount(rows)
        ))?;
        print(format_args!("  dropped    {}   by the transform", share(summary.dropped)))?;
        print(format_args!("  rejected   {}   dead letters", share(summary.rejected)))?;
        print(format_args!("  broken     {}   dead letters", share(summary.broken)))?;
        let rate = progress::rate(summary.records, Duration::from_secs_f64(summary.seconds));
        print(format_args!("in {:.1} s: {rate}", summary.seconds))?;
        print(format_args!(
            "{} files, {} in {}",
            HumanCount(summary.files),
            HumanBytes(summary.bytes),
            summary.data_dir
        ))?;
        print("\nread them with DuckDB (pip install duckdb-cli, or https://duckdb.org):\n")?;
        print(format_args!(
            "duckdb -c \"select country, count(*) clicks, sum(amount_cents) / 100 amount from \
             read_parquet('{}/clean/**/*.parquet', hive_partitioning = true) group by country order by clicks desc limit 5\"",
            summary.data_dir
        ))
    }
}

/// One line about a pipeline at work.
fn line(status: &PipelineStatus, took: Duration) -> String {
    format!(
        "{}  {} emitted  {} dead letters  {} files  {}",
        progress::rate(status.committed.records, took),
        HumanCount(status.committed.emitted),
        HumanCount(status.committed.rejected + status.committed.broken),
        HumanCount(status.files),
        HumanBytes(status.bytes),
    )
}

/// The generator on its thread.
struct Generated {
    sent: Arc<AtomicU64>,
    committed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), Fault>>,
}

impl Generated {
    fn start(kafka: Kafka, topic: String, records: Option<u64>) -> Self {
        let (sent, committed, stop) =
            <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let mut load = Load {
            clicks: Clicks::new(1, records.unwrap_or(LAP)),
            sent: Arc::clone(&sent),
            committed: Arc::clone(&committed),
        };
        let stopped = Arc::clone(&stop);
        let pace = Pace { rate: None, total: records };
        let produce = move || kafka::produce(&kafka, &topic, pace, &stopped, &mut load).map(drop);
        Self { sent, committed, stop, thread: spawn_blocking(produce) }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }

    fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    async fn end(mut self) -> Result<(), Fault> {
        self.stop();
        self.thread.await.map_err(|error| Fault::bug("the generator ended").caused_by(error))?
    }
}

/// Clicks, never far ahead of what is committed.
struct Load {
    clicks: Clicks,
    sent: Arc<AtomicU64>,
    committed: Arc<AtomicU64>,
}

impl kafka::Load for Load {
    fn make(&mut self, index: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        self.clicks.record(index, key, value);
        self.sent.store(index + 1, Ordering::Relaxed);
    }

    fn may_send(&mut self, index: u64) -> bool {
        index < self.committed.load(Ordering::Relaxed) + AHEAD
    }

    fn acked(&mut self, _: Ack) {}
}
