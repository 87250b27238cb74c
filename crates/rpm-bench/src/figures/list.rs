//! `list` with 100 workers: the whole command, from before its start to its end.

use std::time::Instant;

use anyhow::Result;

use super::{Bench, Contender, MANY, Stage, in_turns};
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    for stage in &stages {
        stage.start(MANY)?;
    }
    let contenders = stages.iter().map(|stage| Contender::new(stage.name(), || once(stage))).collect();
    let measured = in_turns(contenders, bench.samples(20, 5));
    let targets = vec![Target::AtMostTimes(1.0 / 40.0, "PM2")];
    Ok(vec![Row { figure: "`list` with 100 workers".into(), unit: "ms", measured, targets }])
}

fn once(stage: &Stage) -> Result<f64> {
    let before = Instant::now();
    stage.manager.run(&["list"])?;
    Ok(before.elapsed().as_secs_f64() * 1e3)
}
