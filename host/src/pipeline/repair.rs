//! The ways out that only a person can take, since each of them gives something up: looked at first, then taken.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{
    blocking, changes,
    committer::{Committer, Standing},
};
use crate::{
    commit::manifest::{Handover, InputRange},
    config,
    fault::Fault,
    kafka,
    record::{Lane, OffsetRange},
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
        /// Lanes of them that have records: if the topic only lost some, these are doubled.
        again: Vec<Place>,
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
                if !pipeline.source.topics.contains(topic) {
                    let text = format!("pipeline {name} does not read topic {topic}");
                    let help = format!("it reads {}", pipeline.source.topics.join(", "));
                    return Err(Fault::config(text).help(help));
                }
                let of_topic = log.lanes.iter().filter(|(lane, _)| *lane.topic == **topic);
                let is_another = watermarks(pipeline, of_topic.clone()).await?;
                // One that was adopted already does not look like another any more: nothing is doubled by a second time.
                if of_topic.zip(is_another).any(|((_, at), range)| is_beyond(*at, range.as_ref())) {
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
    let there = watermarks(pipeline, lost.iter()).await?;
    let has_records =
        |range: &Option<OffsetRange>| range.is_some_and(|range| range.start < range.end);
    let again = lost.iter().zip(&there).filter(|(_, range)| has_records(range));
    let again: Vec<Place> = again.map(|(lane, _)| place(lane)).collect();
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
        again,
    })
}

/// Whether a lane has fewer records than were read of it, or is gone: then it is another's, or has lost some.
fn is_beyond(position: i64, range: Option<&OffsetRange>) -> bool {
    range.is_none_or(|range| position > range.end)
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
    let found = watermarks(pipeline, read.iter()).await?;
    let gaps: Vec<_> = read
        .into_iter()
        .zip(found)
        .filter_map(|((lane, start), range)| {
            let end = range?.start;
            (start < end).then_some(InputRange { lane, start, end })
        })
        .collect();
    if gaps.is_empty() {
        return Ok(None);
    }
    if act {
        nobody_reads(pipeline).await?;
        let committer = Committer::open(store.clone(), &pipeline.name, writer).await?;
        committer.skip(gaps.clone()).await?;
    }
    let lanes = gaps.into_iter().map(|InputRange { lane, start, end }| {
        (lane.topic.to_string(), lane.partition, start, end)
    });
    Ok(Some(Change::SkipGap { lanes: lanes.collect() }))
}

/// A host may hold records of a lane that the topic has no more, and commit them yet: they are not to be given up.
async fn nobody_reads(pipeline: &config::Pipeline) -> Result<(), Fault> {
    let (settings, group) = (pipeline.kafka.clone(), pipeline.source.group_id.clone());
    let members = blocking(move || kafka::members(&settings, &group)).await?;
    if members == 0 {
        return Ok(());
    }
    let name = &pipeline.name;
    let text = format!(
        "hosts run pipeline {name}: what they have read and not committed would be given up too"
    );
    Err(Fault::outside(text).permanent().help(format!(
        "let them commit it: POST /v1/pipelines/{name}/stop (or end the hosts), repeat this, then POST …/start"
    )))
}

/// The watermarks of lanes, in their order.
async fn watermarks<'a>(
    pipeline: &config::Pipeline,
    lanes: impl Iterator<Item = &'a (Lane, i64)>,
) -> Result<Vec<Option<OffsetRange>>, Fault> {
    let lanes: Vec<_> = lanes.map(|(lane, _)| lane.clone()).collect();
    if lanes.is_empty() {
        return Ok(Vec::new());
    }
    let settings = pipeline.kafka.clone();
    blocking(move || kafka::watermarks(&settings, &lanes)).await
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
            Change::NewEpoch { sealed, goes_on, gives_up, forgets, begins, again } => {
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
                for (topic, partition, _) in again {
                    writeln!(
                        f,
                        "  careful: {topic}/{partition} is read from its start; if the topic is the same and only lost records, that doubles them"
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
                "  a host whose pipeline stopped starts it again by POST /v1/pipelines/{pipeline}/start; one that runs it goes on by itself"
            )
        } else {
            write!(f, "  nothing was given up: --yes does it")
        }
    }
}
