//! A process: the production core, and a worker that feeds it.

use crate::commit::{
    model::lanes,
    protocol::{Command, Done, Event, Halt, Writer},
};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) writer: Writer,
    /// Commands that were not carried out yet, in any order.
    pub(super) commands: Vec<Command>,
    /// Where the worker reads on: ahead of the log by what is not committed. `None`: the start is not known yet.
    pub(super) ahead: Option<[i64; 2]>,
    /// Flushes that are handed over and not done, by number.
    pub(super) open: Vec<u8>,
    /// A flush that was fenced: none of a higher number may be committed before the worker went back.
    pub(super) fenced: Option<u8>,
    pub(super) wrong: Option<Wrong>,
}

/// What a process must never come to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wrong {
    Halted(Halt),
    Refused(String),
    CommittedPastAFence,
}

impl Process {
    /// A process that starts.
    pub(super) fn new(writer: Writer) -> Self {
        let (commands, open) = (vec![], vec![]);
        let mut process = Self { writer, commands, ahead: None, open, fenced: None, wrong: None };
        process.feed(Event::Recover);
        process
    }

    pub(super) fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.writer.is_idle() && self.wrong.is_none()
    }

    /// Gives the core an event; answers the files to discard.
    pub(super) fn feed(&mut self, event: Event) -> Vec<String> {
        let mut discarded = Vec::new();
        for command in self.writer.step(event) {
            match command {
                Command::Followed => self.go_back(),
                Command::Done(nonce, done) => self.done(&nonce, done),
                Command::Discard(files) => {
                    discarded.extend(files.into_iter().map(|file| file.key));
                }
                Command::Halt(halt) => self.wrong = Some(Wrong::Halted(halt)),
                command => self.commands.push(command),
            }
        }
        discarded
    }

    fn done(&mut self, nonce: &str, done: Done) {
        let flush: Option<u8> = nonce.parse().ok();
        self.open.retain(|open| Some(*open) != flush);
        match done {
            Done::Committed(_) if self.fenced.is_some() && flush > self.fenced => {
                self.wrong = Some(Wrong::CommittedPastAFence);
            }
            Done::Fenced(_) => self.fenced = self.fenced.or(flush),
            Done::Refused(why) => self.wrong = Some(Wrong::Refused(why)),
            Done::Committed(_) | Done::Needless | Done::Sealed => {}
        }
        if self.writer.log().is_sealed() {
            // The next epoch is not this writer's.
            self.ahead = None;
        } else if flush.is_none() || self.fenced.is_some() {
            self.go_back();
        }
    }

    /// The worker reads every lane again from where the log says, once its open flushes are done.
    fn go_back(&mut self) {
        if self.open.is_empty() && !self.writer.log().is_sealed() {
            self.fenced = None;
            let log = self.writer.log();
            let [a, b] = lanes().map(|lane| log.position(&lane));
            self.ahead = a.zip(b).map(|(a, b)| [a, b]);
        }
    }
}
