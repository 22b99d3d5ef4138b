//! A set of bytes. Pure.

use std::ops::RangeInclusive;

/// A set of bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteSet([u64; 4]);

impl ByteSet {
    /// No byte.
    pub(super) const NONE: ByteSet = ByteSet([0; 4]);
    /// Every byte.
    pub(super) const ALL: ByteSet = ByteSet([u64::MAX; 4]);

    /// One byte.
    pub(super) fn byte(byte: u8) -> ByteSet {
        ByteSet::of(|b| b == byte)
    }

    /// A range of bytes.
    pub(super) fn range(range: RangeInclusive<u8>) -> ByteSet {
        ByteSet::of(|b| range.contains(&b))
    }

    /// The bytes of which `test` holds.
    pub(super) fn of(test: impl Fn(u8) -> bool) -> ByteSet {
        let mut set = ByteSet::NONE;
        for byte in (0..=255).filter(|&byte| test(byte)) {
            set.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
        }
        set
    }

    /// Whether it holds a byte.
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] & 1 << (byte & 63) != 0
    }

    /// What either holds.
    pub(super) fn or(self, other: ByteSet) -> ByteSet {
        ByteSet(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }

    /// What it does not hold.
    pub(super) fn not(self) -> ByteSet {
        ByteSet(self.0.map(|bits| !bits))
    }

    /// With both cases of each letter of ASCII.
    pub(super) fn fold(self) -> ByteSet {
        ByteSet::of(|b| self.has(b) || self.has(b.to_ascii_lowercase()) || self.has(b.to_ascii_uppercase()))
    }

    /// Its ranges, ascending.
    pub(super) fn ranges(&self) -> Vec<RangeInclusive<u8>> {
        let mut ranges: Vec<RangeInclusive<u8>> = Vec::new();
        for byte in (0..=255).filter(|&byte| self.has(byte)) {
            match ranges.last_mut() {
                Some(last) if byte > 0 && *last.end() == byte - 1 => *last = *last.start()..=byte,
                _ => ranges.push(byte..=byte),
            }
        }
        ranges
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}
