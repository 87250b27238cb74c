//! The questions under way: who is waited for, and until when.
//!
//! One to a worker at a time. The loop keeps their time, as it does for everything else: a timer of the runtime for each
//! would cost as much as the question.

use std::collections::{BTreeMap, BTreeSet};

use rpm_model::{Life, Moment};
use tokio::task::AbortHandle;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    questions: BTreeMap<Life, Question>,
    until: BTreeSet<(Moment, Life)>,
}

#[derive(Debug)]
struct Question {
    /// Nothing once it is answered: then only the rest of the answer is heard out.
    until: Option<Moment>,
    task: AbortHandle,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Asked {
    /// Notes a question. The one before is over, whatever its server still had to say.
    pub(crate) fn begin(&mut self, life: Life, until: Moment, task: AbortHandle) {
        self.forget(life);
        self.until.insert((until, life));
        self.questions.insert(life, Question { until: Some(until), task });
    }

    /// Notes that there is an answer; returns whether one was waited for.
    pub(crate) fn answered(&mut self, life: Life) -> bool {
        let until = self.questions.get_mut(&life).and_then(|question| question.until.take());
        until.is_some_and(|until| self.until.remove(&(until, life)))
    }

    /// Takes out a worker that has not answered in time.
    pub(crate) fn pop_late(&mut self, now: Moment) -> Option<Life> {
        let (_, life) = self.until.first().filter(|(until, _)| *until <= now).copied()?;
        self.forget(life);
        Some(life)
    }

    /// Hangs up.
    pub(crate) fn forget(&mut self, life: Life) {
        if let Some(question) = self.questions.remove(&life)
            && let Some(until) = question.until
        {
            self.until.remove(&(until, life));
        }
    }

    pub(crate) fn next_due(&self) -> Option<Moment> {
        self.until.first().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use rpm_model::WorkerId;

    use super::*;

    #[tokio::test]
    async fn a_question_is_answered_or_late_but_not_both() {
        let life = |id| Life::new(WorkerId(id), 1);
        let mut asked = Asked::default();
        let mut tasks = Vec::new();
        for (id, until) in [(1, 30), (2, 10), (3, 20)] {
            let task = tokio::spawn(std::future::pending::<()>());
            asked.begin(life(id), Moment(until), task.abort_handle());
            tasks.push(task);
        }
        assert_eq!(asked.next_due(), Some(Moment(10)));
        assert!(asked.answered(life(2)) && !asked.answered(life(2)));
        assert_eq!(asked.pop_late(Moment(15)), None);
        assert_eq!(asked.pop_late(Moment(20)), Some(life(3)));
        assert!(!asked.answered(life(3)));
        asked.forget(life(2));
        asked.forget(life(1));
        assert_eq!((asked.next_due(), asked.pop_late(Moment(99))), (None, None));
        // Nobody is listened to any more.
        for task in tasks {
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }
}
