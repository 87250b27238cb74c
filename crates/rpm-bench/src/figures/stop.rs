//! `stop` of 100 processes that end on the first signal: until the command has ended and the last of them is gone.

use std::time::Instant;

use anyhow::{Result, bail};

use super::{Bench, Contender, LONG, MANY, Stage, in_turns};
use crate::process;
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    for stage in &stages {
        stage.daemon()?;
    }
    let contenders = stages.iter().map(|stage| Contender::new(stage.name(), || once(stage))).collect();
    let measured = in_turns(contenders, bench.samples(10, 2));
    let targets = vec![Target::AtMostTimes(1.0 / 30.0, "PM2")];
    Ok(vec![Row { figure: "`stop` of 100 processes".into(), unit: "ms", measured, targets }])
}

fn once(stage: &Stage) -> Result<f64> {
    let pids = stage.start(MANY)?;
    let before = Instant::now();
    stage.manager.run(&["stop", "all"])?;
    if !pids.iter().all(|pid| process::wait_gone(*pid, LONG)) {
        bail!("a process outlived its stop");
    }
    let took = before.elapsed();
    stage.clear()?;
    Ok(took.as_secs_f64() * 1e3)
}
