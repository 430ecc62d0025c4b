//! Tests with a real Kafka, which `cargo xtask test` starts.

mod desk;
mod records;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use rand::Rng as _;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
};

use self::desk::{DEADLINE, Desk, Numbers, cluster, source, topic};
use super::{Mock, Pace, Produced, Rewind, Source, partitions, produce};
use crate::{config::Kafka, fault::Blame, record::Lane};

/// Produces `total` numbered records.
fn fill(kafka: &Kafka, topic: &str, total: u64) -> Numbers {
    let mut numbers = Numbers::default();
    let pace = Pace { rate: None, total: Some(total) };
    let produced = produce(kafka, topic, pace, &AtomicBool::new(false), &mut numbers).unwrap();
    assert_eq!(produced, Produced { sent: total, acked: total });
    numbers
}

#[test]
fn four_lanes_on_two_workers_are_read_without_a_gap_once_they_are_placed() {
    let kafka = cluster();
    let topic = topic(&kafka, 4);
    let stored = fill(&kafka, &topic, 200_000);
    let desk = Desk::new(2);
    desk.update(|state| state.stumbles = 1);
    let (source, threads) = desk.join(&kafka, &topic, 4_096);
    desk.wait("all records", |state| state.records() == 200_000);
    let lags = source.lags();
    assert_eq!(lags.len(), 4);
    assert!(lags.iter().all(|lag| lag.offsets() == Some(0)), "{lags:?}");
    let leaving = Instant::now();
    source.stop();
    assert!(leaving.elapsed() < Duration::from_secs(3));
    desk.end(threads);
    desk.update(|state| {
        assert_eq!(state.values, stored.values());
        assert_eq!(state.revoked.len(), 4);
        let [(None, fault)] = &state.failed[..] else { panic!("{:?}", state.failed) };
        assert_eq!(fault.message, "stumbled");
    });
}

#[test]
fn a_rewind_under_load_neither_loses_a_record_nor_takes_an_old_one_for_new() {
    let kafka = cluster();
    let topic = topic(&kafka, 4);
    let stored = fill(&kafka, &topic, 200_000);
    let desk = Desk::new(2);
    let (source, threads) = desk.join(&kafka, &topic, 500);
    let mut random = rand::rng();
    for round in 0..100 {
        desk.wait("a first record after the last rewind", |state| state.records() > 1_000);
        let placed = desk.update(|state| {
            let lanes: Vec<_> =
                state.lanes.iter().map(|(lane, position)| (lane.clone(), position.next)).collect();
            let mut placed = Vec::new();
            for (lane, next) in lanes {
                if round % 3 == 0 || random.random_bool(0.5) {
                    let start = random.random_range(0..=next);
                    placed.push(state.rewind(&lane, start));
                }
            }
            placed
        });
        let expected: Vec<_> = placed
            .iter()
            .map(|Rewind { placed, .. }| (placed.lane.clone(), placed.assignment, placed.start))
            .collect();
        source.rewind(placed);
        desk.wait("records of the new assignments", |state| {
            expected.iter().all(|(lane, assignment, start)| {
                let end = stored.stored[&lane.partition].len();
                let position = state.lanes[lane];
                position.assignment == *assignment
                    && (position.next > *start || usize::try_from(*start).unwrap() == end)
            })
        });
    }
    desk.wait("all records", |state| state.records() == 200_000);
    source.stop();
    desk.end(threads);
    desk.update(|state| {
        assert_eq!(state.values, stored.values());
        assert!(
            state.stale > 1_000,
            "only {} records of older assignments came: nothing was put to the test",
            state.stale
        );
        assert!(state.failed.is_empty(), "{:?}", state.failed);
    });
}

/// Rewinds lanes of members until something comes to pass.
fn shake(desk: &Desk, members: &[&Source], passed: impl Fn() -> bool) {
    let mut random = rand::rng();
    let started = Instant::now();
    while !passed() {
        assert!(started.elapsed() < DEADLINE, "the lanes did not move");
        for member in members {
            // One that is being revoked is another member's soon: what is asked for it now would be in that one's way.
            let rewinds = desk.update(|state| {
                let lanes = member.lags().into_iter().map(|lag| lag.lane);
                let lanes = lanes.filter(|lane| state.lanes[lane].assignment != 0);
                let lanes: Vec<_> = lanes.collect();
                let rewind = |lane: &Lane| {
                    let back = random.random_range(0..500);
                    state.rewind(lane, (state.lanes[lane].next - back).max(0))
                };
                lanes.iter().map(rewind).collect()
            });
            member.rewind(rewinds);
        }
        desk.comes_within(Duration::from_millis(random.random_range(1..150)), |_| passed());
    }
}

#[test]
fn a_second_member_joins_and_leaves_among_rewinds() {
    let kafka = cluster();
    let topic = topic(&kafka, 6);
    let stop = AtomicBool::new(false);
    let desk = Desk::new(2);
    let (stored, threads) = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut numbers = Numbers::default();
            let pace = Pace { rate: Some(30_000), total: Some(900_000) };
            produce(&kafka, &topic, pace, &stop, &mut numbers).unwrap();
            numbers
        });
        let (first, mut threads) = desk.join(&kafka, &topic, 500);
        for round in 1..=2 {
            let before = desk.update(|state| state.records());
            desk.wait("records", |state| state.records() > before + 5_000);
            let (second, more) = desk.join(&kafka, &topic, 500);
            threads.extend(more);
            shake(&desk, &[&first, &second], || second.lags().len() == 3);
            let before = desk.update(|state| state.records());
            desk.wait("records", |state| state.records() > before + 20_000);
            second.stop();
            shake(&desk, &[&first], || first.lags().len() == 6);
            desk.update(|state| assert!(state.revoked.len() >= 6 * round));
        }
        stop.store(true, Ordering::Release);
        let stored = load.join().unwrap().values();
        let total: usize = stored.values().map(Vec::len).sum();
        desk.wait("all records", |state| state.records() == total);
        first.stop();
        (stored, threads)
    });
    desk.end(threads);
    desk.update(|state| {
        assert_eq!(state.values, stored);
        // The topic is so new that its leaders may not be known yet.
        assert!(state.failed.iter().all(|(_, fault)| fault.retry), "{:?}", state.failed);
    });
}

#[test]
fn a_worker_that_does_not_read_is_not_evicted() {
    let mut kafka = cluster();
    kafka.options.insert("max.poll.interval.ms".into(), "6000".into());
    let topic = topic(&kafka, 2);
    fill(&kafka, &topic, 50_000);
    let desk = Desk::new(1);
    let (source, queues) = desk.join_idle(&kafka, &topic);
    desk.wait("the lanes", |state| state.lanes.len() == 2);
    assert!(
        !desk.comes_within(Duration::from_secs(9), |state| !state.revoked.is_empty()),
        "evicted"
    );
    let threads = queues.into_iter().map(|queue| desk.read(queue, 1_000)).collect();
    desk.wait("all records", |state| state.records() == 50_000);
    desk.update(|state| {
        assert!(state.revoked.is_empty() && state.failed.is_empty(), "{:?}", state.failed)
    });
    source.stop();
    desk.end(threads);
}

#[test]
fn a_position_that_the_broker_does_not_have_stops_the_lane_until_it_is_rewound() {
    let kafka = cluster();
    let topic = topic(&kafka, 3);
    let stored = fill(&kafka, &topic, 3_000);
    let [gone, beyond] = [Lane::new(topic.as_str(), 0), Lane::new(topic.as_str(), 1)];
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, Offset::Offset(50)).unwrap();
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", kafka.brokers.join(",")).create().unwrap();
    block_on(admin.delete_records(&before, &AdminOptions::new())).unwrap();

    let desk = Desk::new(1);
    desk.start_at(gone.clone(), 10);
    desk.start_at(beyond.clone(), 1_000_000);
    let (source, threads) = desk.join(&kafka, &topic, 1_000);
    desk.wait("both faults", |state| state.failed.len() == 2);
    let others = stored.stored[&2].len();
    desk.wait("the records of the lane that is well", |state| state.records() == others);
    let placed = desk.update(|state| {
        state.failed.sort_by_key(|(lane, _)| lane.clone());
        let [(Some(first), gap), (Some(second), recreated)] = &state.failed[..] else {
            panic!("{:?}", state.failed)
        };
        assert_eq!((first, second), (&gone, &beyond));
        assert_eq!(gap.code, Some("OFFSET_GAP"));
        assert!(gap.message.contains(&format!("offsets 10 to 49 of lane {gone}")), "{gap}");
        assert_eq!(recreated.code, Some("TOPIC_RECREATED"));
        state.values.insert(0, vec![0; 50]);
        state.rewind(&gone, 50)
    });
    source.rewind(vec![placed]);
    let rest = stored.stored[&0].len();
    desk.wait("the lane to go on", |state| state.values[&0].len() == rest);
    source.stop();
    desk.end(threads);
}

#[test]
fn the_groups_offsets_are_written_for_others_to_see() {
    let kafka = cluster();
    let topic = topic(&kafka, 2);
    fill(&kafka, &topic, 100);
    let desk = Desk::new(1);
    let (reader, threads) = desk.join(&kafka, &topic, 1_000);
    desk.wait("all records", |state| state.records() == 100);
    reader
        .commit_offsets(
            &[(Lane::new(topic.as_str(), 0), 7), (Lane::new(topic.as_str(), 1), 9)],
            "seq 42",
        )
        .unwrap();
    // What was committed is sent before the group is left.
    reader.stop();
    desk.end(threads);

    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.brokers.join(","))
        .set("group.id", source(&topic).group_id);
    let other: BaseConsumer = config.create().unwrap();
    let mut lanes = TopicPartitionList::new();
    lanes.add_partition_range(&topic, 0, 1);
    let committed = other.committed_offsets(lanes, Duration::from_secs(10)).unwrap();
    let committed: Vec<_> = committed
        .elements()
        .iter()
        .map(|lane| (lane.partition(), lane.offset(), lane.metadata().to_owned()))
        .collect();
    assert_eq!(
        committed,
        [(0, Offset::Offset(7), "seq 42".into()), (1, Offset::Offset(9), "seq 42".into())]
    );
}

#[test]
fn a_topic_that_is_missing_and_a_broker_that_is_down_are_told_apart() {
    let mut kafka = cluster();
    let missing = format!("missing-{:016x}", rand::random::<u64>());
    assert_eq!(partitions(&kafka, &missing).unwrap(), None);
    let desk = Desk::new(1);
    let (reader, queues) = desk.join_idle(&kafka, &missing);
    desk.wait("the fault", |state| !state.failed.is_empty());
    desk.update(|state| {
        let (lane, fault) = &state.failed[0];
        assert_eq!((lane, fault.blame, fault.retry), (&None, Blame::Config, true));
        assert!(fault.message.contains(&missing), "{fault}");
    });
    reader.stop();
    drop(queues);

    kafka.brokers = vec!["127.0.0.1:1".into()];
    let desk = Desk::new(1);
    let (reader, _queues) = desk.join_idle(&kafka, &missing);
    let fault = partitions(&kafka, &missing).unwrap_err();
    assert_eq!((fault.blame, fault.retry), (Blame::Outside, true));
    desk.wait("the word that no broker answers", |state| !state.failed.is_empty());
    desk.update(|state| {
        for (lane, fault) in &state.failed {
            assert_eq!((lane, fault.blame, fault.retry), (&None, Blame::Outside, true));
            assert!(fault.message.contains("brokers are down"), "{fault}");
        }
    });
    let leaving = Instant::now();
    reader.stop();
    assert!(leaving.elapsed() < Duration::from_secs(8));
}

#[test]
fn the_broker_inside_the_process_serves_a_whole_run() {
    let mock = Mock::start("clicks", 4).unwrap();
    let kafka = Kafka { brokers: mock.brokers(), ..mock_settings() };
    assert_eq!(partitions(&kafka, "clicks").unwrap(), Some(4));
    let stored = fill(&kafka, "clicks", 20_000);
    let desk = Desk::new(2);
    let (source, threads) = desk.join(&kafka, "clicks", 1_000);
    desk.wait("all records", |state| state.records() == 20_000);
    source.stop();
    desk.end(threads);
    desk.update(|state| assert_eq!(state.values, stored.values()));
}

fn mock_settings() -> Kafka {
    Kafka {
        brokers: Vec::new(),
        security: crate::config::Security::Plaintext,
        ca_file: None,
        client_cert: None,
        sasl: None,
        options: [].into(),
    }
}
