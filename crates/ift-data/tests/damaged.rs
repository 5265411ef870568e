//! Damaged files are errors that name them: no panic, and no memory taken on a damaged file's word.
#![allow(clippy::unwrap_used)] // a helper of tests fails by panicking

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{data, tokenizer};
use ift_data::{ChatTokenizer, DataConfig, DataError, Dataset, Source, load};
use ift_methods::RowKind;

/// The system's allocator, which notes the largest request.
struct Noting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

fn read(path: &Path, tokenizer: &ChatTokenizer) -> Result<Dataset, DataError> {
    let config = DataConfig { train: vec![Source::new(path)], ..DataConfig::default() };
    load(&config, tokenizer, RowKind::Demonstration).map(|(train, _)| train)
}

/// Reads `name` with every seventh byte flipped in turn, and returns how many of the tries failed,
/// and how many were read as other rows.
fn flip_bytes(name: &str) -> (usize, usize) {
    let tokenizer = tokenizer("bytelevel", Some("chatml"));
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(data().join(name)).unwrap();
    let file_name = Path::new(name).file_name().unwrap();
    let path = folder.path().join(file_name);
    let good = read(&data().join(name), &tokenizer).ok();
    let (mut failed, mut changed) = (0, 0);
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&path, bytes).unwrap();
        LARGEST.store(0, Ordering::Relaxed);
        match read(&path, &tokenizer) {
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains(file_name.to_str().unwrap()), "{name}, byte {at}: {error}");
                failed += 1;
            }
            Ok(set) => {
                let good = good.as_ref().unwrap();
                changed += usize::from(set.identity != good.identity);
                // No record is lost, although the file says nothing of its damage.
                let records = |set: &Dataset| set.report.files[0].records;
                assert_eq!(records(&set), records(good), "{name}, byte {at}");
            }
        }
        let largest = LARGEST.load(Ordering::Relaxed);
        assert!(largest < 16 << 20, "{name}, byte {at}: a request for {largest} bytes");
    }
    (failed, changed)
}

#[test]
fn flipped_bytes_are_errors_that_name_the_file() {
    for name in [
        "cases/parquet/c_brotli.parquet",
        "cases/parquet/c_lz4.parquet",
        "cases/parquet/panics.parquet",
        "cases/parquet/unionkeys.parquet",
        "parquet/alpaca.none.parquet",
        "parquet/ultrachat.zstd.parquet",
        "parquet/ultrafeedback.gzip.parquet",
        "tables/pairs.lz4.arrow",
        "tables/pairs.zstd.arrow",
        "tables/types.stream.arrow",
    ] {
        let (failed, changed) = flip_bytes(name);
        // Not all of these files have checksums, so a flip within a text may be read.
        assert!(failed > 20 && changed <= 5, "{name}: {failed} failed, {changed} changed");
    }
}
