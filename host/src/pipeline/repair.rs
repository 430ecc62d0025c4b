//! The ways out that only a person can take, since each of them gives something up: looked at first, then taken.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{
    changes,
    committer::{Committer, Standing},
};
use crate::{commit::manifest::Handover, config, fault::Fault, store::Store};

/// A new epoch of a pipeline's log, with the topics that the pipeline names now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewEpoch {
    /// The pipeline.
    pub pipeline: String,
    /// The epoch that is sealed.
    pub sealed: u16,
    /// The lanes that are read on: topic, partition, next offset.
    pub goes_on: Vec<(String, i32, i64)>,
    /// The lanes that are not, though the sealed epoch read them. Their positions are kept: a later epoch may read on there.
    pub gives_up: Vec<(String, i32, i64)>,
    /// Topics that are begun, as `start` says.
    pub begins: BTreeSet<String>,
    /// Whether it was begun.
    pub done: bool,
}

impl NewEpoch {
    /// What a new epoch would do, or did with `act`; `None` where none is needed. Blocks nobody: hosts that run the
    /// pipeline go over to the new epoch by themselves.
    ///
    /// # Errors
    /// The store can't be read, or the log can't be continued.
    pub async fn begin(
        pipeline: &config::Pipeline,
        writer: &str,
        act: bool,
    ) -> Result<Option<Self>, Fault> {
        let store = Store::open(&pipeline.store).await?;
        let log = Committer::inspect(&store, &pipeline.name).await?;
        if changes::fits(pipeline, &log).is_ok() {
            return Ok(None);
        }
        let planned = Self::planned(pipeline, &log);
        if !act {
            return Ok(Some(planned));
        }
        store.probe().await?;
        let given_up = changes::given_up(pipeline, &log);
        let handover = Handover { given_up, ..Handover::default() };
        let begun = Committer::begin_epoch(&store, &pipeline.name, writer, handover).await?;
        // The positions that it was sealed at: hosts may have committed since it was looked at.
        let sealed = begun.epoch - 1;
        Ok(Some(Self { sealed, done: true, ..Self::planned(pipeline, &begun) }))
    }

    fn planned(pipeline: &config::Pipeline, log: &Standing) -> Self {
        let given_up = changes::given_up(pipeline, log);
        let lane = |of_given_up: bool| {
            let lanes =
                log.lanes.iter().filter(|(lane, _)| given_up.contains(&*lane.topic) == of_given_up);
            lanes.map(|(lane, at)| (lane.topic.to_string(), lane.partition, *at)).collect()
        };
        let known = |topic: &&String| log.lanes.iter().any(|(lane, _)| *lane.topic == ***topic);
        let begins = pipeline.source.topics.iter().filter(|topic| !known(topic)).cloned().collect();
        Self {
            pipeline: pipeline.name.clone(),
            sealed: log.epoch,
            goes_on: lane(false),
            gives_up: lane(true),
            begins,
            done: false,
        }
    }
}

impl fmt::Display for NewEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pipeline, sealed, goes_on, gives_up, begins, done } = self;
        let (is, next) = (if *done { "is" } else { "would be" }, sealed + 1);
        writeln!(f, "{pipeline}: epoch {sealed} of its log {is} sealed, and epoch {next} begun")?;
        for (topic, partition, position) in goes_on {
            writeln!(f, "  {topic}/{partition} goes on at offset {position}")?;
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
        if *done {
            write!(f, "  a host that runs the pipeline goes over by itself")
        } else {
            write!(f, "  nothing was changed: --yes does it")
        }
    }
}
