//! The model: two processes that exclude each other in no way run the production core against a store that loses, delays
//! and answers wrongly; every interleaving within bounds is tried.
//!
//! Each process reads both lanes from the positions that it knows, and hands over flushes of any subset of them with two
//! files each, the next one before the last is committed (depth 2). At any step it may die and start again, from the whole
//! log or from any checkpoint that a process could have written just then.
//!
//! The two processes are alike, so a state and its mirror image count as one. Discards are carried out at once: a later
//! one can only do less harm.

mod hashed;
mod process;
mod properties;
mod store;
mod tests;

use stateright::{Model, Property};

use self::{
    hashed::{Hashed, hash},
    process::Process,
    store::Store,
};
use super::{
    log::Log,
    manifest::{File, InputRange, Kind, Manifest, Stage},
    protocol::{Append, Command, Event, Outcome, Writer, mutant::Mutant},
};
use crate::record::Lane;

/// How far the model goes.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    /// Records a lane.
    records: i64,
    /// Flushes handed over by all processes together.
    flushes: u8,
    /// Deaths of all processes together.
    crashes: u8,
    /// Wrong or late answers of the store.
    faults: u8,
    /// Whether the log is empty at first, and each process resolves its own start of the lanes.
    starts: bool,
    /// Whether processes append claims, as at the end of a drain.
    claims: bool,
    /// Whether somebody seals the epoch.
    seals: bool,
}

impl Bounds {
    /// Nothing happens.
    const NONE: Self = Self {
        records: 0,
        flushes: 0,
        crashes: 0,
        faults: 0,
        starts: false,
        claims: false,
        seals: false,
    };
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    processes: [Hashed<Process>; 2],
    store: Store,
    flushes: u8,
    crashes: u8,
    faults: u8,
    claims: u8,
    /// Somebody wants the epoch to be sealed.
    sealing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// The worker hands a flush over: lanes as bits.
    Flush(usize, u8),
    /// A command is carried out, and the store answers the truth.
    Serve(usize, usize),
    /// A command is carried out, and the answer is lost.
    LoseAnswer(usize, usize),
    /// A command is not carried out, and fails (a 409 that stored nothing is one of these).
    LoseRequest(usize, usize),
    /// A Create fails, and may land later.
    Delay(usize, usize),
    /// A Create that was delayed lands.
    Land(usize),
    /// A process dies and starts from the first manifest on, or from what that process would write as a checkpoint.
    Crash(usize, Option<usize>),
    /// An idle writer reads the log up to its end.
    Follow(usize),
    /// An idle writer publishes what it knows to be unclaimed.
    Help(usize),
    /// An idle writer claims.
    Claim(usize),
    /// A writer seals the epoch.
    Seal(usize),
}

#[derive(Debug)]
struct Protocol {
    bounds: Bounds,
    mutant: Option<Mutant>,
}

fn lanes() -> [Lane; 2] {
    [Lane::new("t", 0), Lane::new("t", 1)]
}

fn append(nonce: String, kind: Kind, inputs: Vec<InputRange>, files: Vec<File>) -> Append {
    let (transforms, counts, handover, ts) = (vec![], vec![], None, String::new());
    Append { nonce, worker: 0, kind, inputs, transforms, files, counts, handover, ts }
}

fn file(key: String) -> File {
    let (output, sha256, stage) =
        (String::new(), String::new(), Stage::Rename { id: String::new() });
    File { output, key, rows: 1, bytes: 1, sha256, stage }
}

impl Protocol {
    /// A process that starts. With `latest`, it wants to begin lanes that the log does not know there.
    fn process(&self, log: Log, latest: Option<i64>) -> Hashed<Process> {
        let writer = Writer::new("p", 1, "w", log).mutated(self.mutant);
        let mut process = Process::new(writer);
        if let Some(start) = latest {
            let inputs = lanes().map(|lane| InputRange { lane, start, end: start }).to_vec();
            process.feed(Event::Commit(append(format!("g{start}"), Kind::Genesis, vec![], vec![])));
            process.feed(Event::Commit(append(format!("s{start}"), Kind::Start, inputs, vec![])));
        }
        Hashed::new(process)
    }

    /// A log with its first manifest: both lanes start at 0.
    fn begun() -> Store {
        let inputs = lanes().map(|lane| InputRange { lane, start: 0, end: 0 }).to_vec();
        let mut writer = Writer::new("p", 1, "w", Log::default());
        let commands = writer.step(Event::Commit(append("g".into(), Kind::Start, inputs, vec![])));
        let mut store = Store::default();
        match &commands[..] {
            [Command::Create(manifest)] => store.create(Hashed::new(manifest.clone()), None),
            _ => unreachable!("the end of an empty log is free"),
        };
        store
    }

    /// Whether an idle process has something to do by itself, sooner or later: read on, or help.
    fn is_due(state: &State, process: &Process) -> bool {
        process.is_idle()
            && (state.is_behind(process) || !process.writer.log().unpublished().is_empty())
    }

    fn flush(state: &mut State, number: usize, subset: u8) {
        state.flushes += 1;
        let flush = state.flushes;
        let files: Vec<_> = (0..2).map(|n| file(format!("{flush}-{n}"))).collect();
        state.store.staged.extend(files.iter().map(|file| file.key.clone()));
        state.edit(number, |process| {
            process.open.push(flush);
            let ahead = process.ahead.as_mut().expect("a worker reads lanes whose start is known");
            let mut inputs = Vec::new();
            for (bit, lane) in lanes().into_iter().enumerate() {
                if subset & 1 << bit != 0 {
                    inputs.push(InputRange { lane, start: ahead[bit], end: ahead[bit] + 1 });
                    ahead[bit] += 1;
                }
            }
            process.feed(Event::Commit(append(flush.to_string(), Kind::Data, inputs, files)))
        });
    }

    /// Carries a command out, or not, and answers it truly, or not.
    fn carry_out(&self, state: &mut State, number: usize, place: usize, done: bool, told: bool) {
        let State { processes, store, .. } = state;
        let event = match &processes[number].commands[place] {
            Command::Create(manifest) => {
                let ok = done && store.create(Hashed::new(manifest.clone()), self.mutant);
                Event::Created(ok && told)
            }
            Command::Read(seq) => {
                Event::Read(*seq, store.log.get(seq).map(|manifest| Manifest::clone(manifest)))
            }
            Command::Publish(seq, file) => {
                let outcome = if done { store.publish(file) } else { Outcome::Unknown };
                let key = file.key.clone();
                Event::Published(*seq, key, if told { outcome } else { Outcome::Unknown })
            }
            Command::Discard(_) | Command::Followed | Command::Done(..) | Command::Halt(_) => {
                unreachable!("`feed` takes these")
            }
        };
        state.edit(number, |process| {
            process.commands.remove(place);
            process.feed(event)
        });
    }
}

impl State {
    fn is_behind(&self, process: &Process) -> bool {
        process.writer.log().next() < self.store.log.len() as u64
    }

    fn feed(&mut self, number: usize, event: Event) {
        self.edit(number, |process| process.feed(event));
    }

    /// Changes a process, and discards what it says.
    fn edit(&mut self, number: usize, change: impl FnOnce(&mut Process) -> Vec<String>) {
        let mut process = Process::clone(&self.processes[number]);
        let discarded = change(&mut process);
        self.store.staged.retain(|key| !discarded.contains(key));
        // They may be carried out in any order, so it tells no states apart.
        process.commands.sort_by_cached_key(hash);
        self.processes[number] = Hashed::new(process);
    }

    /// Of a state and its mirror image, one: the store does not know which process is which.
    fn canonical(mut self) -> Self {
        self.processes.sort_by_key(|process| process.1);
        self
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (store, latest) = if self.bounds.starts {
            (Store::default(), [Some(0), Some(1)])
        } else {
            (Self::begun(), [None, None])
        };
        let processes = latest.map(|latest| self.process(Log::default(), latest));
        let (flushes, crashes, faults, claims, sealing) = (0, 0, 0, 0, false);
        let state = State { processes, store, flushes, crashes, faults, claims, sealing };
        vec![state.canonical()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, process) in state.processes.iter().enumerate() {
            if process.wrong.is_some() {
                continue;
            }
            for (place, command) in process.commands.iter().enumerate() {
                actions.push(Action::Serve(number, place));
                let is_read = matches!(command, Command::Read(_));
                if state.faults < self.bounds.faults && !is_read {
                    actions.push(Action::LoseAnswer(number, place));
                    actions.push(Action::LoseRequest(number, place));
                    if matches!(command, Command::Create(_)) {
                        actions.push(Action::Delay(number, place));
                    }
                }
            }
            if let Some(ahead) = process.ahead
                && state.flushes < self.bounds.flushes
                && process.open.len() < 2
            {
                let left = |lane: usize| ahead[lane] < self.bounds.records;
                let full = |subset: &u8| (0..2).all(|lane| subset & 1 << lane == 0 || left(lane));
                actions.extend((1..4).filter(full).map(|subset| Action::Flush(number, subset)));
            }
            if state.crashes < self.bounds.crashes {
                let from = [None, Some(number), Some(1 - number)];
                actions.extend(from.map(|from| Action::Crash(number, from)));
            }
            if process.is_idle() && state.is_behind(process) {
                actions.push(Action::Follow(number));
            } else if Self::is_due(state, process) {
                actions.push(Action::Help(number));
            } else if self.bounds.claims
                && process.is_idle()
                && process.writer.log().has_unclaimed()
            {
                actions.push(Action::Claim(number));
            }
            if self.bounds.seals && !state.sealing {
                actions.push(Action::Seal(number));
            }
        }
        actions.extend((0..state.store.late.len()).map(Action::Land));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Flush(number, subset) => Self::flush(&mut state, number, subset),
            Action::Serve(number, place) => {
                self.carry_out(&mut state, number, place, true, true);
            }
            Action::LoseAnswer(number, place) => {
                state.faults += 1;
                self.carry_out(&mut state, number, place, true, false);
            }
            Action::LoseRequest(number, place) => {
                state.faults += 1;
                self.carry_out(&mut state, number, place, false, false);
            }
            Action::Delay(number, place) => {
                state.faults += 1;
                if let Command::Create(manifest) = &state.processes[number].commands[place] {
                    state.store.late.push(Hashed::new(manifest.clone()));
                }
                self.carry_out(&mut state, number, place, false, false);
            }
            Action::Land(place) => {
                let manifest = state.store.late.remove(place);
                state.store.create(manifest, self.mutant);
            }
            Action::Crash(number, from) => {
                state.crashes += 1;
                let log = from.map(|from| state.processes[from].writer.checkpoint());
                let log = log.map_or_else(Log::default, Log::resume);
                // Another start than anybody's before: topics grow.
                let latest = self.bounds.starts.then(|| 1 + i64::from(state.crashes));
                state.processes[number] = self.process(log, latest);
            }
            Action::Follow(number) => state.feed(number, Event::Follow),
            Action::Help(number) => {
                let log = state.processes[number].writer.log();
                let unclaimed = log.unpublished().keys().copied().collect();
                state.feed(number, Event::Help(unclaimed));
            }
            Action::Claim(number) => {
                state.claims += 1;
                let nonce = format!("c{}", state.claims);
                state.feed(number, Event::Commit(append(nonce, Kind::Claim, vec![], vec![])));
            }
            Action::Seal(number) => {
                state.sealing = true;
                let seal = append("seal".into(), Kind::Seal, vec![], vec![]);
                state.feed(number, Event::Commit(seal));
            }
        }
        Some(state.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
