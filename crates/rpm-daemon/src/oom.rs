//! Whether the kernel killed a process for want of memory. Pure.
//!
//! The kernel tells a parent no more than SIGKILL. What else there is to go by, the surest first:
//!
//! - the process's own control group counts its kills (`cgroups`);
//! - the kernel's log names the pid, where it may be read: by root, and not in a container;
//! - the count of our own control group has risen: each kill of it is laid to one end by SIGKILL;
//! - where no count has risen, it was somebody else.
//!
//! Where only the machine's count has risen, nobody knows: it may have been any process of the machine.

use std::time::Duration;

use rpm_model::Exit;
use rpm_sys::oom::{Kills, Log};

/// The kernel's log has no clock that we could compare to the microsecond, and an end is heard of a little later.
const MARGIN: Duration = Duration::from_secs(60);

const SIGKILL: i32 = 9;

/// What was counted, and what of it is laid to an end.
#[derive(Debug)]
pub(crate) struct Suspicion {
    /// Up to here kills are laid to somebody, or are too old to be anybody's.
    settled: Kills,
    /// As it was at the last look.
    looked: Kills,
}

impl Suspicion {
    pub(crate) fn new(now: Kills) -> Self {
        Self { settled: now, looked: now }
    }

    /// Lets go of the kills that had been counted at the look before: whoever they were has been buried since.
    pub(crate) fn look(&mut self, now: Kills) {
        self.settled.machine = self.settled.machine.max(self.looked.machine);
        self.settled.group = self.settled.group.max(self.looked.group);
        self.looked = now;
    }

    /// Judges an end that nobody asked for; nothing where nobody knows.
    pub(crate) fn judge(
        &mut self,
        exit: Exit,
        pid: i32,
        now: Kills,
        log: impl FnOnce() -> Option<Log>,
    ) -> Option<bool> {
        if !may_be(exit) {
            return Some(false);
        }
        let risen = |before: Option<u64>, now: Option<u64>| Some(now? > before?);
        let in_group = risen(self.settled.group, now.group);
        match (risen(self.settled.machine, now.machine), in_group) {
            (Some(false), Some(false) | None) | (None, Some(false)) => return Some(false),
            (Some(true), _) | (_, Some(true)) | (None, None) => {}
        }
        if let Some(log) = log() {
            return by_log(&log, pid, Duration::ZERO);
        }
        if in_group == Some(true) {
            self.settled.group = self.settled.group.map(|count| count + 1);
            return Some(true);
        }
        None
    }
}

/// Returns whether an end may have been the kernel's doing.
pub(crate) fn may_be(exit: Exit) -> bool {
    match exit {
        Exit::Signal { signal, .. } => signal == SIGKILL,
        Exit::Code(_) => false,
        Exit::Unknown => true,
    }
}

/// Judges by the kernel's log an end so long ago. That it does not name the pid says something only where it reaches back.
pub(crate) fn by_log(log: &Log, pid: i32, ago: Duration) -> Option<bool> {
    match log.victims.contains(&pid) {
        true => Some(true),
        false => (log.reaches > ago.saturating_add(MARGIN)).then_some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Exit = Exit::Signal { signal: SIGKILL, core: false };

    fn kills(machine: u64, group: u64) -> Kills {
        Kills { machine: Some(machine), group: Some(group) }
    }

    fn of_machine(machine: u64) -> Kills {
        Kills { machine: Some(machine), group: None }
    }

    fn log(victims: &[i32]) -> Option<Log> {
        Some(Log { victims: victims.iter().copied().collect(), reaches: Duration::from_secs(3600) })
    }

    #[test]
    fn the_kernels_log_tells_who_of_several_it_was() {
        let mut suspicion = Suspicion::new(of_machine(19));
        for (pid, is_victim) in [(1, true), (2, false), (3, true)] {
            assert_eq!(suspicion.judge(KILLED, pid, of_machine(22), || log(&[1, 3])), Some(is_victim));
        }
        let short = Log { reaches: Duration::from_secs(1), ..Log::default() };
        assert_eq!(by_log(&short, 2, Duration::ZERO), None, "it may have been overwritten");
        assert_eq!(by_log(&short, 2, Duration::MAX), None, "nobody knows when that was");
    }

    #[test]
    fn each_kill_of_our_group_is_laid_to_one_end() {
        let mut suspicion = Suspicion::new(kills(5, 1));
        let judged = [1, 2, 3].map(|pid| suspicion.judge(KILLED, pid, kills(9, 3), || None));
        // The rest of the machine's may have been any.
        assert_eq!(judged, [Some(true), Some(true), None]);
    }

    #[test]
    fn without_a_rise_it_was_somebody_else() {
        let mut suspicion = Suspicion::new(of_machine(5));
        let unread = || panic!("the log is not read for nothing");
        assert_eq!(suspicion.judge(KILLED, 1, of_machine(5), unread), Some(false));
        assert_eq!(suspicion.judge(Exit::Code(1), 1, of_machine(6), unread), Some(false));
        assert_eq!(suspicion.judge(KILLED, 1, of_machine(6), || None), None);
        // Two looks later that kill is nobody's any more.
        suspicion.look(of_machine(6));
        assert_eq!(suspicion.judge(KILLED, 1, of_machine(6), || None), None);
        suspicion.look(of_machine(6));
        assert_eq!(suspicion.judge(KILLED, 1, of_machine(6), unread), Some(false));
        let mut blind = Suspicion::new(Kills::default());
        assert_eq!(blind.judge(KILLED, 1, Kills::default(), || None), None);
    }
}
