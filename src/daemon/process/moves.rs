//! In which order descriptors are put in their places, so that none is lost on the way.
//!
//! A child that makes a second copy of each socket first needs more than twice as many descriptors as it
//! will have, and fails with half of its limit unused. Worked out by the parent, with every number known,
//! the same takes a single number more than there are sockets, and that only where sockets change places
//! with each other. Nothing here touches a descriptor.

use super::super::given::FIRST_FD;
use std::{collections::BTreeMap, os::fd::RawFd};

/// One dup2(2). From a number to itself it stands for keeping that descriptor open in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: RawFd,
    pub(super) to: RawFd,
}

/// The moves by which some descriptors come to stand from [`FIRST_FD`] on.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Which descriptors, in the order of their places.
    sources: Vec<RawFd>,
    list: Vec<Move>,
}

impl Moves {
    /// Works out the moves for these descriptors; they are the same ones nearly always.
    pub(super) fn arrange(&mut self, sources: impl Iterator<Item = RawFd> + Clone) {
        if !sources.clone().eq(self.sources.iter().copied()) {
            self.sources.clear();
            self.sources.extend(sources);
            self.list = arrange(&self.sources);
        }
    }

    /// In the order in which they are to be done.
    pub(super) fn list(&self) -> &[Move] {
        &self.list
    }

    /// The first descriptor behind the places; from there on nothing is wanted when all moves are done.
    pub(super) fn end(&self) -> RawFd {
        end(&self.sources)
    }
}

fn end(sources: &[RawFd]) -> RawFd {
    FIRST_FD.saturating_add(RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX))
}

/// Nothing is moved to a number before everything that must come from there has been.
fn arrange(sources: &[RawFd]) -> Vec<Move> {
    let mut list = Vec::with_capacity(sources.len().saturating_add(1));
    let mut pending = BTreeMap::new();
    let mut readers: BTreeMap<RawFd, usize> = BTreeMap::new();
    for (from, to) in sources.iter().copied().zip(FIRST_FD..) {
        if from == to {
            list.push(Move { from, to });
        } else {
            pending.insert(to, from);
            *readers.entry(from).or_default() += 1;
        }
    }
    let mut ready: Vec<RawFd> =
        pending.keys().rev().copied().filter(|to| !readers.contains_key(to)).collect();
    loop {
        while let Some(to) = ready.pop() {
            let Some(from) = pending.remove(&to) else { continue };
            list.push(Move { from, to });
            if let Some(left) = readers.get_mut(&from) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push(from);
                }
            }
        }
        // What is left goes round in circles: each number is the source of exactly one other.
        let Some((&to, _)) = pending.first_key_value() else { break };
        let spare = spare(sources);
        list.push(Move { from: to, to: spare });
        if let Some(from) = pending.values_mut().find(|from| **from == to) {
            *from = spare;
        }
        ready.push(to);
    }
    list
}

/// A number that is neither a place nor a source. Whatever else the child has there is of no use to it.
fn spare(sources: &[RawFd]) -> RawFd {
    let mut spare = end(sources);
    while sources.contains(&spare) {
        spare = spare.saturating_add(1);
    }
    spare
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moves(sources: &[RawFd]) -> Moves {
        let mut moves = Moves::default();
        moves.arrange(sources.iter().copied());
        moves
    }

    /// What stands where after the moves, if every descriptor was where its number says.
    fn done(moves: &Moves) -> BTreeMap<RawFd, RawFd> {
        let mut now = BTreeMap::new();
        for Move { from, to } in moves.list() {
            let found = now.get(from).copied().unwrap_or(*from);
            now.insert(*to, found);
        }
        (FIRST_FD..moves.end()).map(|fd| (fd, now.get(&fd).copied().unwrap_or(fd))).collect()
    }

    #[test]
    fn in_the_usual_case_there_is_one_move_for_each_and_nothing_else() {
        assert_eq!(moves(&[9, 10]).list(), [Move { from: 9, to: 3 }, Move { from: 10, to: 4 }]);
        assert_eq!(moves(&[4, 5, 6]).list().first(), Some(&Move { from: 4, to: 3 }));
        assert_eq!(moves(&[3, 4]).list(), [Move { from: 3, to: 3 }, Move { from: 4, to: 4 }]);
        assert_eq!(moves(&[]).list(), []);
    }

    #[test]
    fn those_that_change_places_take_one_number_more_and_no_other() {
        for sources in [&[4, 3][..], &[4, 3, 6, 5], &[7, 6, 3, 5, 4], &[4, 3, 5, 40]] {
            let moves = moves(sources);
            let highest = moves.list().iter().map(|step| step.to).max();
            assert_eq!(highest, Some(moves.end()), "{sources:?}");
        }
        // The number behind the places may be a source itself.
        assert!(moves(&[4, 3, 6]).list().contains(&Move { from: 3, to: 7 }));
    }

    #[test]
    fn moves_are_worked_out_anew_for_other_descriptors() {
        let mut moves = moves(&[9, 10]);
        moves.arrange([10, 9].into_iter());
        assert_eq!(moves.list().first(), Some(&Move { from: 10, to: 3 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn each_descriptor_arrives_wherever_it_was(sources in proptest::collection::vec(3..24, 0..16_usize)) {
            let expected: BTreeMap<RawFd, RawFd> = (FIRST_FD..).zip(sources.iter().copied()).collect();
            prop_assert_eq!(done(&moves(&sources)), expected);
        }
    }
}
