//! A crash → its replacement's first instruction: SIGKILL to `main`, one worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::killed::kill_all;
use super::{Bench, in_turns, ms};
use crate::table::{Row, Target};

/// Between two crashes: the manager is at rest again, which is when a crash finds it.
const REST: Duration = Duration::from_millis(50);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    let pids = RefCell::new(HashMap::new());
    for stage in &stages {
        pids.borrow_mut().insert(stage.name(), stage.start(1)?);
    }
    let measured = in_turns(&stages, bench.samples(100, 20), |stage| {
        thread::sleep(REST);
        let (took, marks) = kill_all(stage, &pids.borrow()[stage.name()])?;
        pids.borrow_mut().insert(stage.name(), marks.iter().map(|mark| mark.pid).collect());
        Ok(ms(took))
    });
    let targets = vec![Target::AtMost(2.0)];
    Ok(vec![Row { figure: "a crash → its replacement's first instruction".into(), unit: "ms", measured, targets }])
}
