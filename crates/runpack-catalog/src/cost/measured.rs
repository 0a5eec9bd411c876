//! What a store was seen to hold: the class, size and age of each object. A key is kept as a part of its digest, so that a
//! million objects fit into some tens of megabytes.

use std::collections::HashMap;

use runpack_core::digest::Digest;
use runpack_core::lifecycle::StorageClass;
use runpack_core::time::Timestamp;

use super::prices::{Prices, PricesError};
use super::usage::{Bill, Object, Usage, Window};
use super::{CostQuery, age_days};

/// An object as a listing told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lying {
    /// Its size.
    pub bytes: u64,
    /// Where it lies.
    pub class: StorageClass,
    /// Since when.
    pub since: Timestamp,
}

/// What a store was seen to hold.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    objects: HashMap<[u8; 16], Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    lying: Lying,
    /// Whether it is an object of a pack.
    is_taken: bool,
}

impl Measured {
    /// Remembers the object under a key.
    pub fn add(&mut self, key: &str, lying: Lying) {
        let is_taken = false;
        self.objects.insert(short(key), Seen { lying, is_taken });
    }

    /// What was seen under a key, which is a pack's. Packs may share objects: it stays there to be seen again.
    pub(super) fn take(&mut self, key: &str) -> Option<Lying> {
        let seen = self.objects.get_mut(&short(key))?;
        seen.is_taken = true;
        Some(seen.lying)
    }

    /// What was not taken: it lies where it was seen, no rule is reckoned for it, since its name is not kept, and nobody
    /// verifies it.
    pub(super) fn rest(&self, query: &CostQuery, prices: &Prices) -> Result<Bill, PricesError> {
        let window = Window {
            verifications: 0,
            ..query.window
        };
        let mut usage = Usage::default();
        let rest = self.objects.values().filter(|seen| !seen.is_taken);
        for Seen { lying, .. } in rest {
            let object = Object {
                key: "",
                bytes: lying.bytes,
                age_days: age_days(lying.since.unix_seconds(), query.at),
                seen: Some(lying.class),
            };
            usage.add(object, &[], window, prices)?;
        }
        usage.bill(window, prices)
    }
}

fn short(key: &str) -> [u8; 16] {
    let mut short = [0; 16];
    let digest = Digest::of(key.as_bytes());
    for (to, from) in short.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    short
}
