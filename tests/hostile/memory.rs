//! Counts the bytes that this process holds.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// The system's allocator, with a count.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn grow(by: usize) {
    let live = LIVE.fetch_add(by as isize, Relaxed) + by as isize;
    PEAK.fetch_max(live, Relaxed);
}

fn shrink(by: usize) {
    LIVE.fetch_sub(by as isize, Relaxed);
}

// SAFETY: all is handed on to `System` as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        shrink(layout.size());
        grow(size);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }
}

/// Bytes that are held now.
pub fn live() -> isize {
    LIVE.load(Relaxed)
}

/// The most bytes that were held since the last call of [`forget_peak`].
pub fn peak() -> isize {
    PEAK.load(Relaxed)
}

/// Begins a new measurement of [`peak`].
pub fn forget_peak() {
    PEAK.store(live(), Relaxed);
}
