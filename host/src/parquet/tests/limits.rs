//! Few files, bounded memory, and faults that say whose they are.

use proptest::prelude::*;

use super::*;
use crate::{
    fault::Blame,
    parquet::{Reason, RefusedRow},
};

#[test]
fn many_small_batches_make_few_files() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(256 << 20);
    let mut files = files(numbered(128 << 20), &budget, folder.path(), 256);
    let mut opened = 0;
    for first in (0..64_000).step_by(80) {
        let mut open = |place: &Place| {
            opened += 1;
            to_memory(place)
        };
        files.write(0, &numbers(first, 80, 64), &mut open).unwrap();
    }
    assert_eq!((opened, files.open_files(), files.rows()), (64, 64, 64_000));
    assert_eq!(files.take_sealed().len(), 0);
    let finished: Vec<_> = files.seal().into_iter().map(close).collect();
    assert!(files.is_empty() && files.rows() == 0);
    assert_all(&finished, 64_000, 64);
    assert_eq!(budget.used(), 0);
}

#[test]
fn two_hundred_partitions_stay_in_the_budget_and_in_two_hundred_files() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(24 << 20);
    let mut files = files(numbered(128 << 20), &budget, folder.path(), 256);
    let mut most = 0;
    for first in (0..600_000).step_by(4000) {
        files.write(0, &numbers(first, 4000, 200), &mut to_memory).unwrap();
        most = most.max(budget.used());
        assert_eq!(budget.used(), files.buffered_bytes());
    }
    assert!(most > 12 << 20, "{most}: the budget was used");
    assert!(most <= 24 << 20, "{most}");
    assert!(files.spill.is_used(), "pages went to disk");
    assert_eq!(files.take_sealed().len(), 0);
    let finished: Vec<_> = files.seal().into_iter().map(close).collect();
    assert_eq!(finished.len(), 200);
    assert_all(&finished, 600_000, 200);
    assert_eq!(budget.used(), 0);
}

#[test]
fn without_room_the_largest_file_is_closed_early() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(1 << 20);
    let mut files = files(numbered(128 << 20), &budget, folder.path(), 256);
    let mut finished = Vec::new();
    for first in (0..100_000).step_by(2000) {
        files.write(0, &numbers(first, 2000, 50), &mut to_memory).unwrap();
        assert!(files.buffered_bytes() <= 1 << 20);
        for sealed in files.take_sealed() {
            assert_eq!(sealed.reason(), Reason::Memory);
            finished.push(close(sealed));
        }
    }
    assert!((1..200).contains(&finished.len()), "{}", finished.len());
    finished.extend(files.seal().into_iter().map(close));
    assert_all(&finished, 100_000, 50);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever the limits, each row is in one file of its part, and in the order in which it was written.
    #[test]
    fn no_limit_loses_a_row(
        batches in prop::collection::vec(1_i64..1500, 1..15),
        parts in 1_i64..40,
        budget in 0_u64..2 << 20,
        max_open in 1_usize..50,
        max_file_bytes in 1_u64..1 << 20,
        flush_every in 1_usize..20,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::new(budget);
        let mut files = files(numbered(max_file_bytes), &budget, folder.path(), max_open);
        let mut finished = Vec::new();
        let mut first = 0;
        for (n, rows) in batches.into_iter().enumerate() {
            files.write(0, &numbers(first, rows, parts), &mut to_memory).unwrap();
            first += rows;
            prop_assert!(files.open_files() <= max_open);
            finished.extend(files.take_sealed());
            if n % flush_every == 0 {
                finished.extend(files.seal());
            }
        }
        finished.extend(files.seal());
        let finished: Vec<_> = finished.into_iter().map(close).collect();
        assert_all(&finished, first, parts);
        prop_assert!(finished.iter().all(|file| file.numbers().is_sorted()));
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn who_holds_little_closes_nothing_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(8 << 20);
    let _parts = budget.reserve(9 << 20);
    let mut files = files(numbered(128 << 20), &budget, folder.path(), 256);
    for first in (0..20_000).step_by(1000) {
        files.write(0, &numbers(first, 1000, 50), &mut to_memory).unwrap();
    }
    assert_eq!((files.take_sealed().len(), files.open_files()), (0, 50));
}

#[test]
fn a_full_file_is_closed_and_the_flush_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(256 << 20);
    let mut files = files(numbered(1 << 20), &budget, folder.path(), 256);
    let mut finished = Vec::new();
    for first in (0..300_000).step_by(5000) {
        files.write(0, &numbers(first, 5000, 2), &mut to_memory).unwrap();
        for sealed in files.take_sealed() {
            assert_eq!(sealed.reason(), Reason::Size);
            finished.push(close(sealed));
        }
    }
    assert!(finished.len() >= 2);
    for file in &finished {
        assert!((500_000..1_300_000).contains(&file.bytes.len()), "{}", file.bytes.len());
    }
    finished.extend(files.seal().into_iter().map(close));
    assert_all(&finished, 300_000, 2);
}

#[test]
fn a_further_partition_takes_the_place_of_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(256 << 20), folder.path(), 3);
    for n in [0, 1, 2, 0, 3, 1] {
        files.write(0, &numbers(n, 1, 100), &mut to_memory).unwrap();
        assert!(files.open_files() <= 3);
    }
    let sealed: Vec<_> = files
        .take_sealed()
        .into_iter()
        .map(|sealed| (sealed.reason(), sealed.place().hive_path.clone()))
        .collect();
    assert_eq!(
        sealed,
        [(Reason::Partitions, "part=1".into()), (Reason::Partitions, "part=2".into())]
    );
}

#[test]
fn refused_rows_leave_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(256 << 20), folder.path(), 8);
    let rows = numbers(0, 3, 3);
    let mut columns = rows.columns().to_vec();
    columns[1] = Arc::new(StringArray::from(vec!["0", "..", "2"]));
    let refused = files
        .write(0, &RecordBatch::try_new(rows.schema(), columns).unwrap(), &mut to_memory)
        .unwrap();
    assert!(
        matches!(&refused[..], [RefusedRow { row: 1, reason }] if reason.contains("hive partition part")),
        "{refused:?}"
    );
    assert_eq!(files.rows(), 2);
    let nothing = files.write(0, &rows.slice(0, 0), &mut to_memory).unwrap();
    assert_eq!((nothing, files.rows()), (vec![], 2));
}

#[test]
fn a_sinks_own_fault_comes_through() {
    let folder = tempfile::tempdir().unwrap();
    let budget = Budget::new(256 << 20);
    let write = |left, fault: Option<Fault>, rows| {
        let mut fault = Some(fault);
        let mut files = files(numbered(128 << 20), &budget, folder.path(), 8);
        let mut open = |_: &Place| Ok(Failing { left, fault: fault.take().unwrap() });
        files.write(0, &numbers(0, rows, 1), &mut open)?;
        files.seal().remove(0).close(Vec::new()).map(drop)
    };
    let fault =
        write(100, Some(Fault::config("no such bucket").code("NO_BUCKET")), 1000).unwrap_err();
    assert_eq!(
        (fault.code, fault.blame),
        (Some("NO_BUCKET"), Blame::Config),
        "at the end of a file"
    );
    let fault =
        write(100, Some(Fault::config("no such bucket").code("NO_BUCKET")), 300_000).unwrap_err();
    assert_eq!((fault.code, fault.blame), (Some("NO_BUCKET"), Blame::Config), "in a file's midst");
    let fault = write(100, None, 1000).unwrap_err();
    assert!(fault.blame == Blame::Outside && fault.retry, "{fault}");
    assert!(
        fault.to_string().contains("`clean`, part=0") && fault.to_string().contains("no route"),
        "{fault}"
    );
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_wrong_partition_is_the_configurations_fault() {
    let fields = [Field::new("n", DataType::Int64, false)];
    let outputs = spec(&fields, settings(&[("dt", Expression::Date("ts".into()))]));
    let folder = tempfile::tempdir().unwrap();
    let fault =
        Files::<Vec<u8>>::new(outputs, Budget::new(1), folder.path().into(), 8).unwrap_err();
    assert!(
        fault.blame == Blame::Config
            && fault.message.contains("`clean`")
            && fault.message.contains("`ts`"),
        "{fault}"
    );
}

#[test]
fn rows_of_another_schema_are_a_bug() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(1 << 20), folder.path(), 8);
    let rows = numbers(0, 3, 3).project(&[0, 1]).unwrap();
    assert_eq!(files.write(0, &rows, &mut to_memory).unwrap_err().blame, Blame::Bug);
}

/// The closer is another thread.
#[test]
fn sealed_files_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Sealed<Vec<u8>>>();
    is_send::<Files<Vec<u8>>>();
}
