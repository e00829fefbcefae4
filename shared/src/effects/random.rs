//! Random bits that are no secret: for ids and for pauses. Access keys and external ids are made elsewhere, from the operating system alone.

use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// A source of random bits; clones draw from the same one.
#[derive(Debug, Clone)]
pub struct Random(Arc<Mutex<fastrand::Rng>>);

impl Random {
    /// A source that no other process has.
    pub fn of_the_system() -> Random {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Random::seeded(high ^ low.rotate_left(32))
    }

    /// The source that gives the same bits for the same seed.
    pub fn seeded(seed: u64) -> Random {
        Random(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// 64 bits.
    pub fn bits(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).u64(..)
    }

    /// A whole number from 0 to `below` - 1; 0 for a `below` of 0.
    pub fn below(&self, below: u32) -> u32 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .u32(..below.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bits_and_the_system_never_does() {
        let drawn = |random: Random| [random.bits(), random.bits()];
        assert_eq!(drawn(Random::seeded(7)), drawn(Random::seeded(7)));
        assert_ne!(drawn(Random::seeded(7)), drawn(Random::seeded(8)));
        assert_ne!(drawn(Random::of_the_system()), drawn(Random::of_the_system()));
        assert!((0..100).all(|_| Random::seeded(1).below(3) < 3));
        assert_eq!(Random::seeded(1).below(0), 0);
    }
}
