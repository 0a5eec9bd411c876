//! The order of steps: each after those that it depends on (threat B15: a cycle has none).

use std::collections::{BTreeMap, BTreeSet};

/// Why there is no order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Disorder {
    /// These depend on each other, each on the next, and the last is the first.
    Cycle(Vec<usize>),
    /// A chain of steps is longer than it may be.
    Deep,
}

/// The positions of steps in an order in which each comes after those in `after`, which are positions too. Without
/// recursion, so that no plan overflows a stack.
pub(super) fn order(after: &[BTreeSet<usize>], depth_max: usize) -> Result<Vec<usize>, Disorder> {
    let mut waits: Vec<usize> = after.iter().map(BTreeSet::len).collect();
    let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, needed) in after.iter().enumerate() {
        for one in needed {
            before.entry(*one).or_default().push(at);
        }
    }
    // By depth, then by position: the same plan always has the same order.
    let mut ordered = Vec::with_capacity(after.len());
    let mut level: Vec<usize> = (0..after.len())
        .filter(|at| waits.get(*at) == Some(&0))
        .collect();
    for _ in 0..depth_max {
        if level.is_empty() {
            break;
        }
        let mut next = Vec::new();
        for done in &level {
            for waiting in before.get(done).into_iter().flatten() {
                if let Some(left) = waits.get_mut(*waiting) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        next.push(*waiting);
                    }
                }
            }
        }
        ordered.append(&mut level);
        next.sort_unstable();
        level = next;
    }
    if !level.is_empty() {
        return Err(Disorder::Deep);
    }
    if ordered.len() < after.len() {
        return Err(Disorder::Cycle(cycle(after, &waits)));
    }
    Ok(ordered)
}

/// A cycle among those that still wait. Each of them waits for another of them, so whoever follows comes round.
fn cycle(after: &[BTreeSet<usize>], waits: &[usize]) -> Vec<usize> {
    let still_waits = |at: &usize| waits.get(*at).is_some_and(|left| *left > 0);
    let mut way: Vec<usize> = Vec::new();
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut here = (0..after.len()).find(still_waits);
    while let Some(at) = here {
        if let Some(first) = seen.get(&at) {
            let mut round = way.split_off(*first);
            round.push(at);
            return round;
        }
        seen.insert(at, way.len());
        way.push(at);
        let needed = after.get(at);
        here = needed.and_then(|needed| needed.iter().copied().find(still_waits));
    }
    way
}
