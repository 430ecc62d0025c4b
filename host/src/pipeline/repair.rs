//! The ways out that only a person can take, since each of them gives something up: looked at first, then taken.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{
    changes,
    committer::{Committer, Standing},
};
use crate::{
    commit::manifest::{Handover, InputRange},
    config,
    fault::Fault,
    kafka,
    record::Lane,
    store::Store,
};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Go on with the topics that the pipeline names now (`OTHER_LOG`).
    NewEpoch,
    /// Read a topic as the new one that it is (`TOPIC_RECREATED`).
    AdoptTopic(String),
    /// Go on behind offsets that are gone unread (`OFFSET_GAP`).
    SkipGap,
    /// Go on without the lost files of a manifest (`STAGE_LOST`).
    Void(u64),
}

/// A repair: what it does, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// The pipeline.
    pub pipeline: String,
    /// Whether it was done.
    pub done: bool,
    /// What it does; nothing, where nothing needs it.
    #[serde(flatten)]
    pub change: Option<Change>,
}

/// What a repair does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "repair", rename_all = "snake_case")]
pub enum Change {
    /// Seals an epoch of the log and begins the next one.
    NewEpoch {
        /// The epoch that is sealed.
        sealed: u16,
        /// The lanes that are read on: topic, partition, next offset.
        goes_on: Vec<Place>,
        /// The lanes that are not, though the sealed epoch read them. Their positions are kept: a later epoch may read on.
        gives_up: Vec<Place>,
        /// The lanes whose positions are gone: their topic was created anew.
        forgets: Vec<Place>,
        /// Topics that are begun, as `start` says.
        begins: BTreeSet<String>,
        /// Lanes that do not look as if their topic was created anew: what is read of them again is doubled.
        doubles: Vec<Place>,
    },
    /// Moves lanes forward over offsets that nobody can read any more.
    SkipGap {
        /// Topic, partition, the first offset that is given up, the first that is read.
        lanes: Vec<(String, i32, i64, i64)>,
    },
    /// Goes on without files that are lost.
    Void {
        /// The manifest that names them.
        seq: u64,
        /// The files, with their rows.
        files: Vec<(String, u64)>,
    },
}

/// Topic, partition, offset.
type Place = (String, i32, i64);

impl Repair {
    /// What a repair would do, or did with `act`. Hosts that run the pipeline may go on doing so: they notice.
    ///
    /// # Errors
    /// The store or the brokers do not answer, or the log can't be continued.
    pub async fn look(
        pipeline: &config::Pipeline,
        way: &Way,
        writer: &str,
        act: bool,
    ) -> Result<Self, Fault> {
        let store = Store::open(&pipeline.store).await?;
        if act {
            store.probe().await?;
        }
        let name = &pipeline.name;
        let change = match way {
            Way::NewEpoch => {
                let log = Committer::inspect(&store, name).await?;
                if changes::fits(pipeline, &log).is_ok() {
                    None
                } else {
                    Some(new_epoch(pipeline, &store, log, None, writer, act).await?)
                }
            }
            Way::AdoptTopic(topic) => {
                let log = Committer::inspect(&store, name).await?;
                changes::fits(pipeline, &log)?;
                if log.lanes.iter().any(|(lane, _)| *lane.topic == **topic) {
                    Some(new_epoch(pipeline, &store, log, Some(topic), writer, act).await?)
                } else {
                    None
                }
            }
            Way::SkipGap => skip_gap(pipeline, &store, writer, act).await?,
            Way::Void(seq) => {
                let lost = Committer::lost(&store, name).await?.remove(seq);
                if lost.is_some() && act {
                    Committer::void(&store, name, writer, *seq).await?;
                }
                let files = |files: Vec<crate::commit::manifest::File>| {
                    files.into_iter().map(|file| (file.key, file.rows)).collect()
                };
                lost.map(|lost| Change::Void { seq: *seq, files: files(lost) })
            }
        };
        Ok(Self { pipeline: name.clone(), done: act && change.is_some(), change })
    }
}

async fn new_epoch(
    pipeline: &config::Pipeline,
    store: &Store,
    log: Standing,
    renewed: Option<&String>,
    writer: &str,
    act: bool,
) -> Result<Change, Fault> {
    let given_up = changes::given_up(pipeline, &log);
    let sealed = log.epoch;
    let is_renewed = |lane: &Lane| renewed.is_some_and(|topic| *lane.topic == **topic);
    let lost: Vec<_> = log.lanes.iter().filter(|(lane, _)| is_renewed(lane)).cloned().collect();
    let doubles = still_there(pipeline, &lost).await?;
    let goes_on = if act {
        let renewed = renewed.into_iter().cloned().collect();
        let handover = Handover { given_up: given_up.clone(), renewed };
        // The positions that it was sealed at: hosts may have committed since it was looked at.
        Committer::begin_epoch(store, &pipeline.name, writer, handover).await?
    } else {
        log.clone()
    };
    let lanes = |wanted: &dyn Fn(&Lane) -> bool| -> Vec<Place> {
        goes_on.lanes.iter().filter(|(lane, _)| wanted(lane)).map(place).collect()
    };
    let known = |topic: &&String| log.lanes.iter().any(|(lane, _)| *lane.topic == ***topic);
    let new = pipeline.source.topics.iter().filter(|topic| !known(topic));
    Ok(Change::NewEpoch {
        sealed,
        goes_on: lanes(&|lane| !given_up.contains(&*lane.topic) && !is_renewed(lane)),
        gives_up: lanes(&|lane| given_up.contains(&*lane.topic)),
        forgets: lost.iter().map(place).collect(),
        begins: new.chain(renewed).cloned().collect(),
        doubles,
    })
}

/// Lanes that hold records before the position that is given up, and reach up to it: then it is the topic that was read.
async fn still_there(
    pipeline: &config::Pipeline,
    lanes: &[(Lane, i64)],
) -> Result<Vec<Place>, Fault> {
    let found = watermarks(pipeline, lanes.iter().map(|(lane, _)| lane.clone()).collect()).await?;
    let is_there = |((_, position), (_, range)): &(&(Lane, i64), (Lane, Option<_>))| {
        let range: &Option<crate::record::OffsetRange> = range;
        range.as_ref().is_some_and(|range| {
            (range.start..=range.end).contains(position) && range.start < *position
        })
    };
    let lanes = lanes.iter().zip(found).filter(is_there);
    Ok(lanes.map(|(lane, _)| place(lane)).collect())
}

async fn skip_gap(
    pipeline: &config::Pipeline,
    store: &Store,
    writer: &str,
    act: bool,
) -> Result<Option<Change>, Fault> {
    let log = Committer::inspect(store, &pipeline.name).await?;
    let read = log.lanes.iter().filter(|(lane, _)| !log.given_up.contains(&*lane.topic));
    let read: Vec<_> = read.cloned().collect();
    let found = watermarks(pipeline, read.iter().map(|(lane, _)| lane.clone()).collect()).await?;
    let gaps: Vec<_> = read
        .into_iter()
        .zip(found)
        .filter_map(|((lane, start), (_, range))| {
            let end = range?.start;
            (start < end).then_some(InputRange { lane, start, end })
        })
        .collect();
    if gaps.is_empty() {
        return Ok(None);
    }
    if act {
        let committer = Committer::open(store.clone(), &pipeline.name, writer).await?;
        committer.skip(gaps.clone()).await?;
    }
    let lanes = gaps.into_iter().map(|InputRange { lane, start, end }| {
        (lane.topic.to_string(), lane.partition, start, end)
    });
    Ok(Some(Change::SkipGap { lanes: lanes.collect() }))
}

async fn watermarks(
    pipeline: &config::Pipeline,
    lanes: Vec<Lane>,
) -> Result<Vec<(Lane, Option<crate::record::OffsetRange>)>, Fault> {
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let settings = pipeline.kafka.clone();
    let asked = spawn_blocking(move || kafka::watermarks(&settings, &lanes)).await;
    asked.map_err(|panic| Fault::bug("ask for watermarks").caused_by(panic))?
}

fn place((lane, position): &(Lane, i64)) -> Place {
    (lane.topic.to_string(), lane.partition, *position)
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pipeline, done, change } = self;
        let Some(change) = change else {
            return write!(f, "{pipeline}: nothing needs this repair");
        };
        let is = if *done { "is" } else { "would be" };
        match change {
            Change::NewEpoch { sealed, goes_on, gives_up, forgets, begins, doubles } => {
                let next = sealed + 1;
                writeln!(
                    f,
                    "{pipeline}: epoch {sealed} of its log {is} sealed, and epoch {next} begun"
                )?;
                for (topic, partition, position) in goes_on {
                    writeln!(f, "  {topic}/{partition} goes on at offset {position}")?;
                }
                for (topic, partition, position) in forgets {
                    writeln!(
                        f,
                        "  {topic}/{partition} forgets that it was read up to offset {position}"
                    )?;
                }
                for topic in begins {
                    writeln!(f, "  {topic} begins, as `source.kafka.start` says")?;
                }
                for (topic, partition, position) in gives_up {
                    writeln!(
                        f,
                        "  {topic}/{partition} is given up at offset {position}: records from there on are not read; a later epoch may"
                    )?;
                }
                for (topic, partition, position) in doubles {
                    writeln!(
                        f,
                        "  careful: {topic}/{partition} still has records before offset {position}; if the topic is the same, they are doubled"
                    )?;
                }
            }
            Change::SkipGap { lanes } => {
                for (topic, partition, from, to) in lanes {
                    let gone = to - from;
                    writeln!(
                        f,
                        "{pipeline}: {topic}/{partition} {is} moved from offset {from} to {to}: {gone} offsets that the topic does not have any more are never read"
                    )?;
                }
            }
            Change::Void { seq, files } => {
                let rows: u64 = files.iter().map(|(_, rows)| rows).sum();
                writeln!(
                    f,
                    "{pipeline}: {} files of manifest {seq} {is} given up, with {rows} rows",
                    files.len()
                )?;
                for (key, rows) in files {
                    writeln!(f, "  {key} ({rows} rows)")?;
                }
            }
        }
        if *done {
            write!(
                f,
                "  a host that runs the pipeline goes on by itself; one that stopped is started by POST /v1/pipelines/{pipeline}/start"
            )
        } else {
            write!(f, "  nothing was changed: --yes does it")
        }
    }
}
