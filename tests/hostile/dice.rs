//! Seeded chance, and what it does to bytes.

/// A stream of numbers that a seed decides (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one exchange of a run.
    pub fn new(seed: u64, exchange: u64) -> Dice {
        let mut dice = Dice(seed ^ exchange.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    /// Whether something happens that does so in so many of a hundred cases.
    pub fn percent(&mut self, of: usize) -> bool {
        self.below(100) < of
    }

    /// One of these.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A byte that parsers stumble over, or any.
    fn byte(&mut self) -> u8 {
        match self.percent(50) {
            true => self.one(b"\0\x01\x7f\x80\x81\x84\xfb\xfc\xfe\xff\n\r -<>*#{0129"),
            false => self.roll() as u8,
        }
    }

    /// A part of a text: where it begins and ends.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }

    /// Bytes that are an answer of no protocol: none begins as a good line does, with a digit.
    pub fn garbage(&mut self) -> Vec<u8> {
        let length = 1 + self.one(&[1, 2, 8, 64, 600, 5_000]);
        let length = 1 + self.below(length);
        let mut bytes: Vec<u8> = match self.below(4) {
            0 => (0..length).map(|_| self.byte()).collect(),
            1 => (0..length).map(|_| self.one(b"abc xyz0123456789.:;-\r\n")).collect(),
            2 => vec![self.byte(); length],
            _ => (0..length).map(|_| self.roll() as u8).collect(),
        };
        if bytes[0].is_ascii_digit() {
            bytes[0] |= 0x80;
        }
        bytes
    }

    /// Changes bytes in a few places, as no honest server does.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            self.change(bytes);
        }
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let part = self.part(bytes.len());
        let at = part.start;
        match self.below(10) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            2 => {
                let byte = self.byte();
                bytes[at..].iter_mut().take(1).for_each(|old| *old = byte);
            }
            // A length that is a lie: huge, or the largest that is no negative number.
            3 => {
                let (width, first) = (1 + self.below(4), self.one(&[0xff, 0x7f, 0x00]));
                bytes[at..].iter_mut().take(width).for_each(|old| *old = 0xff);
                bytes[at..].iter_mut().take(1).for_each(|old| *old = first);
            }
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(part)),
            6 => {
                let copy = bytes[part].to_vec();
                bytes.splice(at..at, copy);
            }
            7 => {
                let new: Vec<u8> = (0..1 + self.below(20)).map(|_| self.byte()).collect();
                bytes.splice(at..at, new);
            }
            // The beginning, which often says how long the rest is, within itself again and again.
            8 => {
                let head = bytes[..bytes.len().min(1 + self.below(12))].repeat(1 + self.below(3_000));
                bytes.splice(0..0, head);
            }
            _ => {
                let copy = bytes[part].repeat(1 + self.below(200));
                bytes.splice(at..at, copy.into_iter().take(200_000));
            }
        }
        bytes.truncate(400_000);
    }
}
