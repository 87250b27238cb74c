//! Which columns a table has, and how wide they are.
//!
//! Where there is room the columns have PM2's widths. Where there is less they shrink to their content first; then the
//! columns that tell least leave one by one; then the name is cut; and only then what everyone looks for goes.

use unicode_width::UnicodeWidthStr;

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Id,
    Name,
    Namespace,
    Version,
    Mode,
    Pid,
    Uptime,
    Restarts,
    Status,
    /// Shown where an app has a health check.
    Health,
    Cpu,
    Memory,
    User,
    Watching,
}

/// All columns, from left to right.
pub const ALL: [Column; 14] = [
    Column::Id,
    Column::Name,
    Column::Namespace,
    Column::Version,
    Column::Mode,
    Column::Pid,
    Column::Uptime,
    Column::Restarts,
    Column::Status,
    Column::Health,
    Column::Cpu,
    Column::Memory,
    Column::User,
    Column::Watching,
];

/// The columns that leave while the name is still whole, first to last.
const DISPENSABLE: [Column; 5] = [Column::Watching, Column::User, Column::Namespace, Column::Version, Column::Mode];

/// The columns that leave when the name has been cut to [`NAME_CUT`].
const LAST_TO_LEAVE: [Column; 6] =
    [Column::Pid, Column::Cpu, Column::Uptime, Column::Restarts, Column::Memory, Column::Health];

/// A name can still be told apart by this many columns.
const NAME_CUT: usize = 14;

/// A longer status (`waiting restart`) is cut before a column leaves, as in PM2.
const STATUS_CUT: usize = 9;

/// Longer names are cut in every table, as in PM2.
const NAME_MAX: usize = 40;

impl Column {
    /// Returns its head.
    pub fn head(self) -> &'static str {
        match self {
            Column::Id => "id",
            Column::Name => "name",
            Column::Namespace => "namespace",
            Column::Version => "version",
            Column::Mode => "mode",
            Column::Pid => "pid",
            Column::Uptime => "uptime",
            Column::Restarts => "↺",
            Column::Status => "status",
            Column::Health => "health",
            Column::Cpu => "cpu",
            Column::Memory => "mem",
            Column::User => "user",
            Column::Watching => "watching",
        }
    }

    /// Returns PM2's width, the blank on both sides included.
    fn width_of_pm2(self, content: usize) -> usize {
        match self {
            Column::Id => 4,
            Column::Name => content + 5,
            Column::Namespace => 13,
            Column::Version | Column::Mode => 9,
            Column::Pid => 10,
            Column::Uptime => 8,
            Column::Restarts => 6,
            Column::Status | Column::Health => 11,
            Column::Cpu | Column::Memory | Column::User | Column::Watching => 10,
        }
    }
}

/// Chooses columns and widths for a screen of `available` columns; `content` is the longest text of each column.
pub fn fit(available: usize, content: impl Fn(Column) -> usize) -> Vec<(Column, usize)> {
    let content = |column: Column| {
        let longest = content(column);
        if column == Column::Name { longest.min(NAME_MAX) } else { longest }
    };
    let whole = |column: Column| content(column).max(column.head().width()) + 2;
    let narrow = |column: Column| match column {
        Column::Status => whole(column).min(STATUS_CUT + 2),
        other => whole(other),
    };
    let wide = |column: Column| column.width_of_pm2(content(column)).max(whole(column));
    let total = |columns: &[(Column, usize)]| columns.iter().map(|(_, width)| width + 1).sum::<usize>() + 1;

    let shown = ALL.iter().filter(|column| **column != Column::Health || content(Column::Health) > 0);
    let mut columns: Vec<(Column, usize)> = shown.map(|column| (*column, narrow(*column))).collect();
    let leave = |columns: &mut Vec<(Column, usize)>, leaving: &[Column]| {
        for column in leaving {
            if total(columns) <= available {
                return;
            }
            columns.retain(|(kept, _)| kept != column);
        }
    };
    let cut_name = |columns: &mut Vec<(Column, usize)>, least: usize| {
        let excess = total(columns).saturating_sub(available);
        if let Some((_, width)) = columns.iter_mut().find(|(column, _)| *column == Column::Name) {
            *width = width.saturating_sub(excess).max(least.min(*width));
        }
    };
    leave(&mut columns, &DISPENSABLE);
    cut_name(&mut columns, NAME_CUT + 2);
    leave(&mut columns, &LAST_TO_LEAVE);
    cut_name(&mut columns, 5);
    for index in 0..columns.len() {
        let room = available.saturating_sub(total(&columns));
        let (column, width) = &mut columns[index];
        *width += room.min(wide(*column).saturating_sub(*width));
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(column: Column) -> usize {
        match column {
            Column::Id => 1,
            Column::Name => 3,
            Column::Namespace | Column::Mode => 7,
            Column::Version => 3,
            Column::Pid => 5,
            Column::Uptime => 2,
            Column::Restarts => 1,
            Column::Status => 6,
            Column::Health => 0,
            Column::Cpu => 2,
            Column::Memory => 6,
            Column::User => 4,
            Column::Watching => 8,
        }
    }

    #[test]
    fn with_room_the_widths_are_pm2s() {
        let widths: Vec<usize> = fit(usize::MAX, content).into_iter().map(|(_, width)| width).collect();
        assert_eq!(widths, [4, 8, 13, 9, 9, 10, 8, 6, 11, 10, 10, 10, 10]);
        let at_134: Vec<usize> = fit(134, content).into_iter().map(|(_, width)| width).collect();
        assert_eq!(at_134, widths);
    }

    #[test]
    fn nothing_is_wider_than_the_screen_and_the_essence_stays() {
        let long = |column| if column == Column::Name { 60 } else { content(column) };
        for available in 40..200 {
            let columns = fit(available, long);
            let total: usize = columns.iter().map(|(_, width)| width + 1).sum::<usize>() + 1;
            assert!(total <= available, "{available}: {columns:?}");
            for kept in [Column::Id, Column::Name, Column::Status] {
                assert!(columns.iter().any(|(column, _)| *column == kept), "{available}: {kept:?} is gone");
            }
        }
        let at_80 = fit(80, content);
        for kept in [Column::Pid, Column::Uptime, Column::Restarts, Column::Cpu, Column::Memory] {
            assert!(at_80.iter().any(|(column, _)| *column == kept), "{kept:?} is gone at 80");
        }
    }
}
