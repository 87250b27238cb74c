//! A crash → its replacement's first instruction: SIGKILL to `main`, one worker.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::killed::kill_all;
use super::{Bench, Contender, in_turns};
use crate::table::{Row, Target};

/// Between two crashes: the manager is at rest again, which is how a crash finds it.
const REST: Duration = Duration::from_millis(50);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    let mut contenders = Vec::new();
    for stage in &stages {
        let mut pids = stage.start(1)?;
        contenders.push(Contender::new(stage.name(), move || {
            thread::sleep(REST);
            kill_all(stage, &mut pids)
        }));
    }
    let measured = in_turns(contenders, bench.samples(100, 20));
    let targets = vec![Target::AtMost(2.0)];
    Ok(vec![Row { figure: "a crash → its replacement's first instruction".into(), unit: "ms", measured, targets }])
}
