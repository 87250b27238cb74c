//! `stop` of 100 processes that end on the first signal: until the command has ended and the last of them is gone.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{Bench, LONG, MANY, in_turns};
use crate::process;
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    for stage in &stages {
        stage.daemon()?;
    }
    let measured = in_turns(&stages, bench.samples(10, 2), |stage| {
        let pids = stage.start(MANY)?;
        let before = Instant::now();
        stage.manager.run(&["stop", "all"])?;
        if !pids.iter().all(|pid| process::wait_gone(*pid, LONG)) {
            bail!("a process outlived its stop");
        }
        let took = before.elapsed();
        stage.clear()?;
        Ok(took.as_secs_f64() * 1e3)
    });
    let targets = vec![Target::AtMostTimes(1.0 / 30.0, "PM2")];
    Ok(vec![Row { figure: "`stop` of 100 processes".into(), unit: "ms", measured, targets }])
}
