//! What the cache keeps, checks, shares and throws away.

use super::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

const ROOM: CacheLimits = CacheLimits { max_bytes: 1 << 30, min_free_bytes: 0 };

fn wanted(range: std::ops::Range<usize>) -> Vec<Wanted> {
    range.map(|i| Wanted { key: key([i.to_string().as_bytes()]), length: 5 + i % 3 }).collect()
}

/// The row of number `i`; its numbers do not fit into f16.
fn row(i: usize) -> Vec<f32> {
    (0..5 + i % 3).map(|k| 0.1 + i as f32 / 3.0 + k as f32).collect()
}

/// The rows of `range` with how many were computed for it.
fn fetch(cache: &TensorCache, range: std::ops::Range<usize>, precision: Precision) -> (Vec<Vec<f32>>, usize) {
    let first = range.start;
    let mut computed = 0;
    let mut compute = |places: &[usize]| {
        computed += places.len();
        Ok(places.iter().map(|place| row(first + place)).collect())
    };
    let rows = cache.fetch(&wanted(range), precision, &mut compute, &mut |_, _| Ok(())).unwrap();
    (rows.iter().map(|row| row.read_all().unwrap()).collect(), computed)
}

fn shards(folder: &Path) -> Vec<PathBuf> {
    TensorCache::new(folder, ROOM).files(SHARD).into_iter().map(|file| file.path).collect()
}

#[test]
fn rows_are_computed_once_whoever_asks_and_beside_whatever() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TensorCache::new(folder.path(), ROOM);
    let (first, computed) = fetch(&cache, 0..150, Precision::Full);
    assert_eq!(computed, 150);
    assert!(first.iter().enumerate().all(|(i, values)| *values == row(i)));
    assert_eq!(shards(folder.path()).len(), 3);
    assert!(cache.files(LOCK).is_empty());
    // Other neighbours, and some that are new.
    let (second, computed) = fetch(&TensorCache::new(folder.path(), ROOM), 100..160, Precision::Full);
    assert_eq!(computed, 10);
    assert!(second.iter().enumerate().all(|(i, values)| *values == row(100 + i)));
    let row =
        cache.fetch(&wanted(7..8), Precision::Full, &mut |_| unreachable!(), &mut |_, _| Ok(())).unwrap().remove(0);
    assert_eq!(row.read(2, 3).unwrap(), super::tests::row(7)[2..5]);
    assert!(row.read(4, 3).is_err());
}

#[test]
fn halves_are_read_as_they_were_computed_and_close_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TensorCache::new(folder.path(), ROOM);
    let (computed, _) = fetch(&cache, 0..70, Precision::Half);
    let (read, again) = fetch(&cache, 0..70, Precision::Half);
    assert_eq!((again, &read), (0, &computed));
    for (i, values) in computed.iter().enumerate() {
        assert!(*values != row(i), "these numbers do not fit into f16");
        assert!(values.iter().zip(row(i)).all(|(kept, exact)| (kept - exact).abs() <= exact * 5e-4));
    }
    // f32 is another row.
    assert_eq!(fetch(&cache, 0..1, Precision::Full), (vec![row(0)], 1));
}

#[test]
fn what_f16_cannot_hold_is_kept_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TensorCache::new(folder.path(), ROOM);
    let rows = [vec![1e6f32, 1.5], vec![1e-9, -3e-9], vec![0.0, 0.0], vec![0.25, -8.0]];
    let wanted: Vec<Wanted> =
        (0..rows.len()).map(|i| Wanted { key: key([i.to_le_bytes().as_slice()]), length: 2 }).collect();
    let kept = cache
        .fetch(
            &wanted,
            Precision::Half,
            &mut |places| Ok(places.iter().map(|&p| rows[p].clone()).collect()),
            &mut |_, _| Ok(()),
        )
        .unwrap();
    assert!(kept.iter().zip(&rows).all(|(kept, row)| kept.read_all().unwrap() == *row));
}

#[test]
fn a_stopped_fill_goes_on_with_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TensorCache::new(folder.path(), ROOM);
    let mut compute = |places: &[usize]| Ok(places.iter().map(|&place| row(place)).collect());
    let mut stop = |done: usize, _: usize| if done >= 64 { Err(Error::Stopped) } else { Ok(()) };
    let stopped = cache.fetch(&wanted(0..200), Precision::Half, &mut compute, &mut stop);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(fetch(&cache, 0..200, Precision::Half).1, 136);
}

#[test]
fn a_damaged_shard_is_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TensorCache::new(folder.path(), ROOM);
    let (whole, _) = fetch(&cache, 0..64, Precision::Half);
    let path = shards(folder.path()).remove(0);
    let good = fs_err::read(&path).unwrap();
    for place in [0, 17, 40, 60, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 4;
        fs_err::write(&path, bad).unwrap();
        assert_eq!(fetch(&cache, 0..64, Precision::Half), (whole.clone(), 64), "byte {place}");
    }
    for length in [0, 10, 100, good.len() - 1] {
        fs_err::write(&path, &good[..length]).unwrap();
        assert_eq!(fetch(&cache, 0..64, Precision::Half), (whole.clone(), 64), "cut to {length}");
    }
    assert_eq!(fs_err::read(&path).unwrap(), good);
}

#[test]
fn without_room_rows_are_computed_each_time_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let short = TensorCache::new(folder.path(), CacheLimits { min_free_bytes: u64::MAX, ..ROOM });
    let (first, computed) = fetch(&short, 0..70, Precision::Half);
    assert_eq!((computed, shards(folder.path()).len()), (70, 0));
    assert_eq!(fetch(&short, 0..70, Precision::Half), (first.clone(), 70));
    // A folder that cannot be made.
    let file = folder.path().join("file");
    fs_err::write(&file, "").unwrap();
    assert_eq!(fetch(&TensorCache::new(&file.join("cache"), ROOM), 0..70, Precision::Half).0, first);
    assert_eq!(fetch(&TensorCache::new(folder.path(), ROOM), 0..70, Precision::Half), (first, 70));
}

#[test]
fn the_longest_unused_go_first_and_never_what_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let cache = TensorCache::new(folder.path(), ROOM);
    let age = |paths: &[PathBuf], hours: u64| {
        for path in paths {
            let file = fs_err::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_hours(hours)).unwrap();
        }
    };
    fetch(&cache, 0..64, Precision::Full);
    age(&shards(folder.path()), 3);
    fetch(&cache, 64..128, Precision::Full);
    let bytes: Vec<u64> = cache.files(SHARD).iter().map(|file| file.bytes).collect();
    // Only the first is used again, so it is the second that goes.
    age(&shards(folder.path()), 2);
    fetch(&cache, 0..1, Precision::Full);
    let waste = folder.path().join("x.shard.7.partial");
    fs_err::write(&waste, "half").unwrap();
    age(std::slice::from_ref(&waste), 30);
    let tight = TensorCache::new(folder.path(), CacheLimits { max_bytes: 2 * bytes[0] + 100, ..ROOM });
    fetch(&tight, 128..192, Precision::Full);
    assert!(!waste.exists());
    assert_eq!(fetch(&cache, 0..64, Precision::Full).1, 0);
    assert_eq!(fetch(&cache, 128..192, Precision::Full).1, 0);
    assert_eq!(fetch(&cache, 64..128, Precision::Full).1, 64);
}

#[test]
fn two_that_fill_at_once_share_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let (barrier, computed) = (Barrier::new(2), AtomicUsize::new(0));
    let work = || {
        let cache = TensorCache::new(folder.path(), ROOM);
        barrier.wait();
        let mut compute = |places: &[usize]| {
            computed.fetch_add(places.len(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(30));
            Ok(places.iter().map(|&place| row(place)).collect())
        };
        let rows = cache.fetch(&wanted(0..640), Precision::Full, &mut compute, &mut |_, _| Ok(())).unwrap();
        rows.iter().map(|row| row.read_all().unwrap()).collect::<Vec<_>>()
    };
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        (work(), other.join().unwrap())
    });
    assert_eq!(one, two);
    assert!(one.iter().enumerate().all(|(i, values)| *values == row(i)));
    assert_eq!(computed.into_inner(), 640, "a shard was computed twice");
}
