//! The model: two writers that exclude each other in no way run the production core against a store that loses, delays and
//! answers wrongly; every interleaving within a bound is tried.
//!
//! A writer owns both lanes, reads each from the position it knows, and hands over flushes of any subset of its lanes with
//! two files each, the next one before the last is committed (depth 2). At any step it may crash and recover.
//!
//! Bounds (`Bounds`): what a test run does in CI, and what `TIDEMILL_TEST_FULL=1` does.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Checker, Model, Property};

use super::{
    log::Log,
    manifest::{File, InputRange, Kind, Manifest, Stage},
    mutant::Mutant,
    protocol::{Append, Command, Done, Event, Halt, Outcome, Writer},
};
use crate::record::Lane;

/// How far the model goes.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Records a lane.
    records: i64,
    /// Flushes handed over by all writers together.
    flushes: u8,
    /// Crashes of all writers together.
    crashes: u8,
    /// Wrong or late answers of the store.
    faults: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    writers: [Process; 2],
    store: Store,
    flushes: u8,
    crashes: u8,
    faults: u8,
}

/// The store, and a PUT that may still land.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Store {
    log: BTreeMap<u64, Manifest>,
    late: BTreeSet<(u64, Vec<u8>)>,
    staged: BTreeSet<String>,
    visible: BTreeSet<String>,
    /// Visible without a manifest at that moment.
    ghosts: BTreeSet<String>,
}

/// A writer with the worker that feeds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    writer: Writer,
    /// Commands that were not carried out yet, in any order.
    commands: Vec<Command>,
    /// Where the worker reads on; it is ahead of the log by what is not committed.
    ahead: [i64; 2],
    /// Flushes that are handed over and not done.
    open: u8,
    halted: Option<Halt>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// The worker hands a flush over: lanes as bits.
    Flush(usize, u8),
    /// A command is carried out, and the store answers the truth.
    Serve(usize, usize),
    /// A command is carried out, and the answer is lost.
    LoseAnswer(usize, usize),
    /// A command is not carried out, and fails.
    LoseRequest(usize, usize),
    /// A Create fails, and lands later.
    Delay(usize, usize),
    /// A PUT that was delayed lands.
    Land(usize),
    /// A process dies and starts again.
    Crash(usize),
    /// An idle writer reads the log up to its end.
    Follow(usize),
    /// An idle writer publishes what it knows to be unclaimed.
    Help(usize),
}

#[derive(Debug)]
struct Protocol {
    bounds: Bounds,
    mutant: Option<Mutant>,
}

fn lanes() -> [Lane; 2] {
    [Lane::new("t", 0), Lane::new("t", 1)]
}

impl Protocol {
    fn process(&self, log: Log) -> Process {
        let ahead = lanes().map(|lane| log.position(&lane).unwrap_or_default());
        let mut writer = Writer::new("p", 1, "w", log).mutated(self.mutant);
        let commands = writer.recover();
        Process { writer, commands, ahead, open: 0, halted: None }
    }

    /// A log with its first manifest: both lanes start at 0.
    fn genesis() -> (Log, Manifest) {
        let inputs = lanes().map(|lane| InputRange { lane, start: 0, end: 0 }).to_vec();
        let mut log = Log::default();
        let manifest = Manifest {
            v: 1,
            pipeline: "p".into(),
            epoch: 1,
            seq: 0,
            nonce: "g".into(),
            prev: String::new(),
            kind: Kind::Start,
            inputs,
            transforms: vec![],
            files: vec![],
            counts: vec![],
            published: log.published(),
            writer: "g".into(),
            ts: String::new(),
        };
        log.fold(&manifest).expect("the first manifest of a log");
        (log, manifest)
    }
}

impl State {
    /// Both processes have done all they were asked to and know the whole log, and nothing is on its way.
    fn is_settled(&self) -> bool {
        let done = |process: &Process| {
            process.is_idle()
                && !self.is_behind(process)
                && process.writer.log().unpublished().is_empty()
        };
        self.store.late.is_empty() && self.writers.iter().all(done)
    }

    fn is_behind(&self, process: &Process) -> bool {
        process.writer.log().next() < self.store.log.len() as u64
    }

    fn feed(&mut self, process: usize, event: Event) {
        let process = &mut self.writers[process];
        let commands = process.writer.step(event);
        for command in commands {
            match command {
                Command::Followed => process.rewind_if_idle(),
                Command::Done(_, Done::Committed(_)) => process.open -= 1,
                Command::Done(_, Done::Fenced(_)) => {
                    process.open -= 1;
                    process.rewind_if_idle();
                }
                Command::Halt(halt) => process.halted = Some(halt),
                command => process.commands.push(command),
            }
        }
    }
}

impl Process {
    fn is_idle(&self) -> bool {
        self.commands.is_empty() && self.writer.is_idle() && self.halted.is_none()
    }

    /// After a fence the worker reads every lane again from where the log says, once its later flushes are fenced as well.
    fn rewind_if_idle(&mut self) {
        if self.open == 0 {
            let log = self.writer.log();
            self.ahead = lanes().map(|lane| log.position(&lane).unwrap_or_default());
        }
    }
}

impl Store {
    fn create(&mut self, manifest: Manifest, mutant: Option<Mutant>) -> bool {
        // Rule 9.
        if mutant != Some(Mutant::CreateOverwrites) && self.log.contains_key(&manifest.seq) {
            return false;
        }
        self.log.insert(manifest.seq, manifest);
        true
    }

    fn publish(&mut self, file: &File) -> Outcome {
        if self.staged.remove(&file.key) {
            self.visible.insert(file.key.clone());
            if !self.log.values().any(|manifest| manifest.files.contains(file)) {
                self.ghosts.insert(file.key.clone());
            }
            return Outcome::Visible;
        }
        if self.visible.contains(&file.key) { Outcome::Visible } else { Outcome::Lost }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (log, manifest) = Self::genesis();
        let mut store = Store::default();
        store.log.insert(0, manifest);
        let writers = [self.process(log.clone()), self.process(log)];
        vec![State { writers, store, flushes: 0, crashes: 0, faults: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, process) in state.writers.iter().enumerate() {
            if process.halted.is_some() {
                continue;
            }
            for (place, command) in process.commands.iter().enumerate() {
                actions.push(Action::Serve(number, place));
                if state.faults < self.bounds.faults {
                    match command {
                        Command::Create(_) => {
                            actions.push(Action::LoseAnswer(number, place));
                            actions.push(Action::LoseRequest(number, place));
                            actions.push(Action::Delay(number, place));
                        }
                        Command::Publish(..) => {
                            actions.push(Action::LoseAnswer(number, place));
                            actions.push(Action::LoseRequest(number, place));
                        }
                        _ => {}
                    }
                }
            }
            if state.flushes < self.bounds.flushes && process.open < 2 {
                for subset in 1..4_u8 {
                    if (0..2).all(|lane| {
                        subset & 1 << lane == 0 || process.ahead[lane] < self.bounds.records
                    }) {
                        actions.push(Action::Flush(number, subset));
                    }
                }
            }
            if state.crashes < self.bounds.crashes {
                actions.push(Action::Crash(number));
            }
            if process.is_idle() && state.is_behind(process) {
                actions.push(Action::Follow(number));
            } else if process.is_idle() && !process.writer.log().unpublished().is_empty() {
                actions.push(Action::Help(number));
            }
        }
        actions.extend((0..state.store.late.len()).map(Action::Land));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        let fault = !matches!(
            action,
            Action::Flush(..)
                | Action::Serve(..)
                | Action::Land(_)
                | Action::Crash(_)
                | Action::Follow(_)
                | Action::Help(_)
        );
        state.faults += u8::from(fault);
        match action {
            Action::Flush(number, subset) => {
                state.flushes += 1;
                let nonce = format!("f{}", state.flushes);
                let process = &mut state.writers[number];
                process.open += 1;
                let mut inputs = Vec::new();
                for (bit, lane) in
                    lanes().into_iter().enumerate().filter(|(bit, _)| subset & 1 << bit != 0)
                {
                    let start = process.ahead[bit];
                    process.ahead[bit] += 1;
                    inputs.push(InputRange { lane, start, end: start + 1 });
                }
                let files: Vec<_> = (0..2).map(|n| file(format!("{nonce}-{n}"))).collect();
                state.store.staged.extend(files.iter().map(|file| file.key.clone()));
                let append = Append {
                    nonce,
                    kind: Kind::Data,
                    inputs,
                    transforms: vec![],
                    files,
                    counts: vec![],
                    ts: String::new(),
                };
                state.feed(number, Event::Commit(append));
            }
            Action::Serve(number, place) => match state.writers[number].commands.remove(place) {
                Command::Create(manifest) => {
                    let ok = state.store.create(manifest, self.mutant);
                    state.feed(number, Event::Created(ok));
                }
                Command::Read(seq) => {
                    let manifest = state.store.log.get(&seq).cloned();
                    state.feed(number, Event::Read(seq, manifest));
                }
                Command::Publish(seq, file) => {
                    let outcome = state.store.publish(&file);
                    state.feed(number, Event::Published(seq, file.key, outcome));
                }
                Command::Discard(files) => {
                    state.store.staged.retain(|key| !files.iter().any(|file| file.key == *key))
                }
                Command::Followed | Command::Done(..) | Command::Halt(_) => {
                    unreachable!("`feed` takes these")
                }
            },
            Action::LoseAnswer(number, place) => match state.writers[number].commands.remove(place)
            {
                Command::Create(manifest) => {
                    state.store.create(manifest, self.mutant);
                    state.feed(number, Event::Created(false));
                }
                Command::Publish(seq, file) => {
                    state.store.publish(&file);
                    state.feed(number, Event::Published(seq, file.key, Outcome::Unknown));
                }
                _ => return None,
            },
            Action::LoseRequest(number, place) => {
                match state.writers[number].commands.remove(place) {
                    Command::Create(_) => state.feed(number, Event::Created(false)),
                    Command::Publish(seq, file) => {
                        state.feed(number, Event::Published(seq, file.key, Outcome::Unknown))
                    }
                    _ => return None,
                }
            }
            Action::Delay(number, place) => match state.writers[number].commands.remove(place) {
                Command::Create(manifest) => {
                    state.store.late.insert((manifest.seq, manifest.encode()));
                    state.feed(number, Event::Created(false));
                }
                _ => return None,
            },
            Action::Land(place) => {
                let late = state.store.late.iter().nth(place).cloned()?;
                state.store.late.remove(&late);
                let manifest = Manifest::decode("late", &late.1).expect("it was encoded here");
                state.store.create(manifest, self.mutant);
            }
            Action::Follow(number) => state.feed(number, Event::Follow),
            Action::Help(number) => {
                let unclaimed =
                    state.writers[number].writer.log().unpublished().keys().copied().collect();
                state.feed(number, Event::Help(unclaimed));
            }
            Action::Crash(number) => {
                state.crashes += 1;
                // What a process starts from: the first manifest, as if no checkpoint was there.
                state.writers[number] = self.process(Self::genesis().0);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "every offset is committed once, in order, without a gap",
                |_, state: &State| {
                    let mut log = Log::default();
                    let whole = (0..).zip(state.store.log.keys()).all(|(seq, key)| seq == *key);
                    whole && state.store.log.values().all(|manifest| log.fold(manifest).is_ok())
                },
            ),
            Property::always("nothing is visible that is not committed", |_, state: &State| {
                state.store.ghosts.is_empty()
            }),
            Property::always("what is claimed to be published is visible", |_, state: &State| {
                let visible = |seq: &u64| {
                    state.store.log.get(seq).is_some_and(|manifest| {
                        manifest.files.iter().all(|file| state.store.visible.contains(&file.key))
                    })
                };
                state.store.log.values().all(|manifest| {
                    (0..manifest.published.through).all(|seq| visible(&seq))
                        && manifest.published.also.iter().all(visible)
                })
            }),
            Property::always("no committed file is ever lost", |_, state: &State| {
                let there = |file: &File| {
                    state.store.staged.contains(&file.key)
                        || state.store.visible.contains(&file.key)
                };
                state.store.log.values().flat_map(|manifest| &manifest.files).all(there)
            }),
            Property::always("no writer halts", |_, state: &State| {
                state.writers.iter().all(|process| process.halted.is_none())
            }),
            Property::always(
                "when all is done, all that is committed is visible",
                |_, state: &State| {
                    !state.is_settled()
                        || state
                            .store
                            .log
                            .values()
                            .flat_map(|manifest| &manifest.files)
                            .all(|file| state.store.visible.contains(&file.key))
                },
            ),
            Property::sometimes("a flush is committed by each writer", |_, state: &State| {
                state.is_settled() && state.store.log.len() >= 3 && state.store.visible.len() >= 4
            }),
            Property::sometimes("a stage is discarded by a fence", |_, state: &State| {
                state.is_settled()
                    && usize::from(state.flushes) * 2
                        > state.store.staged.len() + state.store.visible.len()
            }),
        ]
    }
}

fn file(key: String) -> File {
    File {
        output: String::new(),
        key,
        rows: 1,
        bytes: 1,
        sha256: String::new(),
        stage: Stage::Rename { id: String::new() },
    }
}

/// Tries every interleaving; answers how many states there are.
fn exhaust(bounds: Bounds) -> usize {
    let checker = Protocol { bounds, mutant: None }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

fn is_caught(mutant: Mutant) -> bool {
    let bounds = Bounds { records: 2, flushes: 2, crashes: 1, faults: 1 };
    let model = Protocol { bounds, mutant: Some(mutant) };
    let safety: Vec<_> = model
        .properties()
        .iter()
        .filter(|p| p.expectation == stateright::Expectation::Always)
        .map(|p| p.name)
        .collect();
    let checker = model
        .checker()
        .threads(2)
        .finish_when(stateright::HasDiscoveries::AnyFailures)
        .target_state_count(2_000_000)
        .spawn_bfs()
        .join();
    checker.discoveries().keys().any(|name| safety.contains(name))
}

fn full() -> bool {
    std::env::var("TIDEMILL_TEST_FULL").is_ok_and(|full| !full.is_empty())
}

#[test]
fn faults_without_a_crash() {
    let states =
        exhaust(Bounds { records: 1, flushes: if full() { 4 } else { 3 }, crashes: 0, faults: 1 });
    assert!(states > 10_000, "{states}");
}

#[test]
fn crashes_without_a_fault() {
    let states =
        exhaust(Bounds { records: 1, flushes: 2, crashes: if full() { 2 } else { 1 }, faults: 0 });
    assert!(states > 10_000, "{states}");
}

#[test]
fn a_crash_and_a_fault() {
    let records = if full() { 2 } else { 1 };
    let states = exhaust(Bounds { records, flushes: 2, crashes: 1, faults: 1 });
    assert!(states > 10_000, "{states}");
}

#[test]
fn every_rule_is_necessary() {
    let missed: Vec<_> = Mutant::ALL.into_iter().filter(|mutant| !is_caught(*mutant)).collect();
    assert!(missed.is_empty(), "the model does not catch {missed:?}");
}
