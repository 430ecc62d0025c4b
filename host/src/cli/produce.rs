//! `tidemill produce`: a seeded load generator.

use std::{
    fs::File,
    io::{BufWriter, Write},
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::ProgressBar;

use super::{flags::KafkaFlags, print, progress, run::end_signal};
use crate::{
    config::Kafka,
    fault::Fault,
    generator::Clicks,
    kafka::{self, Ack, Pace},
};

/// Sends generated records to a topic, each acknowledged by all replicas.
#[derive(Debug, clap::Args)]
pub(super) struct Produce {
    #[command(flatten)]
    kafka: KafkaFlags,
    /// The topic
    #[arg(long, default_value = "clicks")]
    topic: String,
    /// Create the topic with this many partitions if it is missing
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    partitions: Option<u16>,
    /// What the records are
    #[arg(long, value_enum, default_value_t)]
    generator: Generator,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    records: u64,
    /// How many a second; as fast as possible without
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// The same seed gives the same records
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write a line a record that was acknowledged: partition, offset, place among the records
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Generator {
    /// Clicks of a shop, as JSON of 284 bytes on average: some are negative, lack an e-mail address or are broken
    #[default]
    Clicks,
}

impl Produce {
    pub(super) async fn run(self) -> Result<(), Fault> {
        let kafka = self.kafka.0.host()?.kafka;
        let ledger = self.ledger.as_deref().map(Ledger::create).transpose()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (end, stopped) = (end_signal()?, Arc::clone(&stop));
        tokio::spawn(async move {
            end.await;
            stopped.store(true, Ordering::Release);
        });
        let work = move || self.send(&kafka, ledger, &stop);
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Fault::bug("the generator ended").caused_by(error))?
    }

    fn send(&self, kafka: &Kafka, ledger: Option<Ledger>, stop: &AtomicBool) -> Result<(), Fault> {
        match self.partitions {
            Some(partitions) => {
                kafka::create_topic(kafka, &self.topic, usize::from(partitions))?;
            }
            None if kafka::partitions(kafka, &self.topic)?.is_none() => {
                let text =
                    format!("there is no topic {} at {}", self.topic, kafka.brokers.join(", "));
                return Err(Fault::config(text).help("create it, or let `--partitions N` do so"));
            }
            None => {}
        }
        let clicks = match self.generator {
            Generator::Clicks => Clicks::new(self.seed, self.records),
        };
        let bar = progress::bar(self.records);
        let mut load = Load { clicks, ledger, bar };
        let pace =
            Pace { rate: self.rate.map(|rate| u64::from(rate.get())), total: Some(self.records) };
        let start = Instant::now();
        let produced = kafka::produce(kafka, &self.topic, pace, stop, &mut load);
        load.bar.finish_and_clear();
        // What was acknowledged is in the ledger, also when the rest failed.
        let kept = load.ledger.map_or(Ok(()), Ledger::finish);
        let produced = produced?;
        kept?;
        self.tell(produced.acked, start.elapsed())
    }

    fn tell(&self, records: u64, took: Duration) -> Result<(), Fault> {
        if self.json {
            let topic = &self.topic;
            return print(
                serde_json::json!({ "topic": topic, "records": records, "seconds": took.as_secs_f64() }),
            );
        }
        let rate = progress::rate(records, took);
        print(format_args!(
            "{records} records to {} in {:.1} s ({rate})",
            self.topic,
            took.as_secs_f64()
        ))
    }
}

/// Clicks on their way, and a note of each that is stored.
struct Load {
    clicks: Clicks,
    ledger: Option<Ledger>,
    bar: ProgressBar,
}

impl kafka::Load for Load {
    fn make(&mut self, index: u64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        self.clicks.record(index, key, value);
    }

    fn acked(&mut self, ack: Ack) {
        self.bar.inc(1);
        if let Some(ledger) = &mut self.ledger {
            ledger.note(&ack);
        }
    }
}

/// A file with a line a record: `partition offset index`.
struct Ledger {
    name: String,
    file: BufWriter<File>,
    /// The first error: an acknowledgement has nobody to tell it to.
    written: std::io::Result<()>,
}

impl Ledger {
    fn create(path: &Path) -> Result<Self, Fault> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|error| {
            let help = "name a file in a folder that exists and can be written to";
            Fault::config(format!("cannot write the ledger {name}")).caused_by(error).help(help)
        })?;
        Ok(Self { name, file: BufWriter::new(file), written: Ok(()) })
    }

    fn note(&mut self, ack: &Ack) {
        if self.written.is_ok() {
            self.written = writeln!(self.file, "{} {} {}", ack.partition, ack.offset, ack.index);
        }
    }

    fn finish(mut self) -> Result<(), Fault> {
        let written = self.written.and_then(|()| self.file.flush());
        written.map_err(|error| {
            Fault::outside(format!("cannot write the ledger {}", self.name)).caused_by(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_has_a_line_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let mut ledger = Ledger::create(&path).unwrap();
        ledger.note(&Ack { index: 7, partition: 1, offset: 5 });
        ledger.note(&Ack { index: 8, partition: 0, offset: 9 });
        ledger.finish().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1 5 7\n0 9 8\n");
    }

    #[test]
    fn a_ledger_in_no_folder_is_the_users_fault() {
        let fault = Ledger::create(Path::new("/nowhere/at/all")).err().unwrap();
        assert_eq!(fault.blame, crate::fault::Blame::Config);
    }
}
