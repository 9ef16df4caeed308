//! New inputs out of old ones.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Bytes and words that mean something to one reader or another.
const WORDS: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b":",
    b",",
    b"%",
    b"%00",
    b"%2F",
    b"@",
    b"/",
    b"?",
    b"#",
    b"\n",
    b"-",
    b".",
    b"e9",
    b"0",
    b"\xff",
    "\u{85}".as_bytes(),
    "é".as_bytes(),
];

/// Changes inputs at random, the same way for the same seed.
pub(crate) struct Mutator {
    random: StdRng,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// One of `corpus`, changed in one to four places.
    pub(crate) fn next_of(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.one_of(corpus).clone();
        for _ in 0..self.random.random_range(1..=4) {
            let at = self.random.random_range(0..=input.len());
            let to = input.len().min(at + self.random.random_range(0..=8));
            match self.random.random_range(0..5) {
                0 => drop(input.drain(at..to)),
                1 => drop(input.splice(at..to, self.one_of(&WORDS).to_vec())),
                2 => drop(input.splice(at..at, input[at..to].to_vec())),
                3 => {
                    let other = self.one_of(corpus);
                    let from = self.random.random_range(0..=other.len());
                    drop(input.splice(at.., other[from..].to_vec()));
                }
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << self.random.random_range(0..8);
                    }
                }
            }
        }
        input
    }

    fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.random.random_range(0..of.len())]
    }
}
