//! The rows of the view: workers, slots without any, or groups of them; and which of them is chosen.

use super::{
    usage::Usages,
    words::{phase, vacancy},
};
use crate::ctl::report::{Report, Worker};
use std::collections::{BTreeMap, BTreeSet};

/// What a group has in common: the generation, unless there are no workers, and a word.
pub type Kind = (Option<u32>, String);

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Of several.
    Group(Group),
    /// Of the worker with that index in the report.
    Worker(usize),
    /// Of the slot with that index in the report, which has no worker.
    Vacant(usize),
}

/// Some that have something in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What.
    pub kind: Kind,
    /// How many there are.
    pub count: usize,
    /// What they take of a processor together, in percent.
    pub cpu: f32,
    /// The memory that they take, what they share counted over and over, in KiB.
    pub rss: u64,
    /// Whether they are shown one by one, too.
    pub is_open: bool,
}

/// A row, whatever else comes and goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Group(Kind),
    Worker(u64),
    Slot(u32),
}

/// A way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the way of its name")]
pub enum Way {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

/// The rows, one of which is chosen.
#[derive(Debug, Default)]
pub struct List {
    rows: Vec<Row>,
    chosen: Option<Name>,
    cursor: usize,
    /// The first row that is on the screen.
    offset: usize,
    /// How many there is room for.
    room: usize,
    is_grouped: bool,
    open: BTreeSet<Kind>,
}

impl List {
    /// Makes the rows anew. What was chosen stays so if it is still there; or else what is in its place.
    pub fn update(&mut self, report: &Report, usages: &Usages) {
        self.rows = if self.is_grouped { self.groups(report, usages) } else { singly(report) };
        let found = self
            .chosen
            .as_ref()
            .and_then(|chosen| self.rows.iter().position(|row| name(row, report).as_ref() == Some(chosen)));
        self.go_to(found.unwrap_or(self.cursor), report);
    }

    /// Shows groups, or no longer.
    pub fn group(&mut self, report: &Report, usages: &Usages) {
        self.is_grouped = !self.is_grouped;
        (self.cursor, self.offset, self.chosen) = (0, 0, None);
        self.update(report, usages);
    }

    /// Shows the members of the group that is chosen, or whose member is chosen, or no longer.
    pub fn fold(&mut self, report: &Report, usages: &Usages) {
        let above = self.rows.get(..=self.cursor).unwrap_or_default().iter().rev();
        let group = above.into_iter().find_map(|row| match row {
            Row::Group(group) => Some(group.kind.clone()),
            Row::Worker(_) | Row::Vacant(_) => None,
        });
        let Some(kind) = group else { return };
        if !self.open.remove(&kind) {
            self.open.insert(kind.clone());
        }
        self.chosen = Some(Name::Group(kind));
        self.update(report, usages);
    }

    /// Chooses another row.
    pub fn go(&mut self, way: Way, report: &Report) {
        let page = self.room.saturating_sub(1).max(1);
        let to = match way {
            Way::Up => self.cursor.saturating_sub(1),
            Way::Down => self.cursor + 1,
            Way::PageUp => self.cursor.saturating_sub(page),
            Way::PageDown => self.cursor + page,
            Way::First => 0,
            Way::Last => usize::MAX,
        };
        self.go_to(to, report);
    }

    fn go_to(&mut self, to: usize, report: &Report) {
        self.cursor = to.min(self.rows.len().saturating_sub(1));
        self.chosen = self.rows.get(self.cursor).and_then(|row| name(row, report));
        self.fit(self.room);
    }

    /// Makes do with room for so many rows, what is chosen among them.
    pub fn fit(&mut self, room: usize) {
        self.room = room;
        let (first, last) = (self.cursor.saturating_sub(room.saturating_sub(1)), self.cursor);
        let end = self.rows.len().saturating_sub(room);
        self.offset = self.offset.clamp(first, last).min(end);
    }

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Where the rows on the screen begin.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The rows on the screen, and whether each is chosen.
    pub fn shown(&self) -> impl Iterator<Item = (&Row, bool)> {
        let rows = self.rows.iter().enumerate().skip(self.offset).take(self.room);
        rows.map(|(number, row)| (row, number == self.cursor))
    }

    /// The row that is chosen.
    #[must_use]
    pub fn chosen(&self) -> Option<&Row> {
        self.rows.get(self.cursor)
    }

    fn groups(&self, report: &Report, usages: &Usages) -> Vec<Row> {
        let mut groups: BTreeMap<Kind, Vec<Row>> = BTreeMap::new();
        for row in singly(report) {
            groups.entry(kind(&row, report)).or_default().push(row);
        }
        let with_members = groups.into_iter().flat_map(|(kind, members)| {
            let pid = |row: &Row| worker(row, report).and_then(|worker| usages.get(&worker.pid?));
            let used = || members.iter().filter_map(pid);
            let is_open = self.open.contains(&kind);
            let group = Group {
                count: members.len(),
                cpu: used().filter_map(|usage| usage.cpu).sum(),
                rss: used().map(|usage| usage.rss).sum(),
                is_open,
                kind,
            };
            let members = members.into_iter().filter(move |_| is_open);
            [Row::Group(group)].into_iter().chain(members)
        });
        with_members.collect()
    }
}

/// All workers, and all slots that have none, by slot.
fn singly(report: &Report) -> Vec<Row> {
    let taken: BTreeSet<u32> = report.workers.iter().map(|worker| worker.slot).collect();
    let workers = report.workers.iter().enumerate();
    let workers = workers.map(|(index, worker)| ((worker.slot, worker.worker), Row::Worker(index)));
    let vacant = report.slots.iter().enumerate().filter(|(_, slot)| !taken.contains(&slot.slot));
    let vacant = vacant.map(|(index, slot)| ((slot.slot, 0), Row::Vacant(index)));
    let mut rows: Vec<_> = workers.chain(vacant).collect();
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn worker<'a>(row: &Row, report: &'a Report) -> Option<&'a Worker> {
    match row {
        Row::Worker(index) => report.workers.get(*index),
        Row::Group(_) | Row::Vacant(_) => None,
    }
}

fn kind(row: &Row, report: &Report) -> Kind {
    match row {
        Row::Group(group) => group.kind.clone(),
        Row::Worker(_) => {
            worker(row, report).map(|worker| (Some(worker.generation), phase(worker))).unwrap_or_default()
        }
        Row::Vacant(index) => (None, report.slots.get(*index).map(vacancy).unwrap_or_default().into()),
    }
}

fn name(row: &Row, report: &Report) -> Option<Name> {
    match row {
        Row::Group(group) => Some(Name::Group(group.kind.clone())),
        Row::Worker(_) => worker(row, report).map(|worker| Name::Worker(worker.worker)),
        Row::Vacant(index) => report.slots.get(*index).map(|slot| Name::Slot(slot.slot)),
    }
}
