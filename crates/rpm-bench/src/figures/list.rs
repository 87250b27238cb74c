//! `list` with 100 workers: the whole command, from before its start to its end.

use std::time::Instant;

use anyhow::Result;

use super::{Bench, MANY, in_turns};
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    for stage in &stages {
        stage.start(MANY)?;
    }
    let measured = in_turns(&stages, bench.samples(20, 5), |stage| {
        let before = Instant::now();
        stage.manager.run(&["list"])?;
        Ok(before.elapsed().as_secs_f64() * 1e3)
    });
    let targets = vec![Target::AtMostTimes(1.0 / 40.0, "PM2")];
    Ok(vec![Row { figure: "`list` with 100 workers".into(), unit: "ms", measured, targets }])
}
