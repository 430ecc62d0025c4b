//! Few files, bounded memory, and faults that say whose they are.

use proptest::prelude::*;

use super::*;

use crate::{
    budget::Budget,
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
        let sorted = files.sort(0, &numbers(first, 80, 64)).unwrap();
        files.write(sorted, &mut open).unwrap();
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
        write(&mut files, &numbers(first, 4000, 200));
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
        write(&mut files, &numbers(first, 2000, 50));
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
        max_file_bytes in 1_u64..1 << 20,
        flush_every in 1_usize..20,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::new(budget);
        let mut files = files(numbered(max_file_bytes), &budget, folder.path(), 40);
        let mut finished = Vec::new();
        let mut first = 0;
        for (n, rows) in batches.into_iter().enumerate() {
            write(&mut files, &numbers(first, rows, parts));
            first += rows;
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
    let _parts = budget.share().reserve(9 << 20);
    let mut files = files(numbered(128 << 20), &budget, folder.path(), 256);
    for first in (0..20_000).step_by(1000) {
        write(&mut files, &numbers(first, 1000, 50));
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
        write(&mut files, &numbers(first, 5000, 2));
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
fn further_partitions_than_may_be_open_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(256 << 20), folder.path(), 3);
    assert_eq!(write(&mut files, &numbers(0, 2, 100)), []);
    let refused = write(&mut files, &numbers(0, 6, 5));
    assert!(
        matches!(&refused[..], [RefusedRow { row: 3, reason }, RefusedRow { row: 4, .. }] if reason.contains("max_partitions") && reason.contains("part=3")),
        "{refused:?}"
    );
    assert_eq!((files.open_files(), files.rows()), (3, 6));
    // The next flush has room again.
    files.seal();
    assert_eq!(write(&mut files, &numbers(3, 2, 100)), []);
}

#[test]
fn what_must_be_written_goes_without_a_partition_where_it_can_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(256 << 20), folder.path(), 2);
    files.write_all(0, &numbers(0, 5, 5), &mut to_memory).unwrap();
    let finished: Vec<_> = files.seal().into_iter().map(close).collect();
    let rows = |file: &Finished| file.numbers();
    let found: Vec<_> = finished.iter().map(|file| (file.path.as_str(), rows(file))).collect();
    assert_eq!(
        found,
        [
            ("part=0", vec![0]),
            ("part=1", vec![1]),
            ("part=__HIVE_DEFAULT_PARTITION__", vec![2, 3, 4])
        ]
    );
}

#[test]
fn refused_rows_leave_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files(numbered(128 << 20), &Budget::new(256 << 20), folder.path(), 8);
    let rows = numbers(0, 3, 3);
    let mut columns = rows.columns().to_vec();
    columns[1] = Arc::new(StringArray::from(vec!["0", "..", "2"]));
    let refused = write(&mut files, &RecordBatch::try_new(rows.schema(), columns).unwrap());
    assert!(
        matches!(&refused[..], [RefusedRow { row: 1, reason }] if reason.contains("hive partition part")),
        "{refused:?}"
    );
    assert_eq!(files.rows(), 2);
    let nothing = write(&mut files, &rows.slice(0, 0));
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
        let sorted = files.sort(0, &numbers(0, rows, 1))?;
        files.write(sorted, &mut open)?;
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
    let fault = Files::<Vec<u8>>::new(outputs, Budget::new(1).share(), folder.path().into(), 900)
        .unwrap_err();
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
    let budget = Budget::new(1 << 20);
    let mut files: Files<Vec<u8>> = files(numbered(128 << 20), &budget, folder.path(), 8);
    let rows = numbers(0, 3, 3).project(&[0, 1]).unwrap();
    assert_eq!(files.sort(0, &rows).unwrap_err().blame, Blame::Bug);
}

/// The closer is another thread.
#[test]
fn sealed_files_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Sealed<Vec<u8>>>();
    is_send::<Files<Vec<u8>>>();
}
