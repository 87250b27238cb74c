//! No daemon → first process running: until the first instruction of the program, on its own clock.

use anyhow::Result;

use super::{Bench, Contender, LONG, Stage, in_turns, ms};
use crate::marks::last_ns;
use crate::process::monotonic_ns;
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    let contenders = stages.iter().map(|stage| Contender::new(stage.name(), || once(stage))).collect();
    let measured = in_turns(contenders, bench.samples(10, 3));
    let targets = vec![Target::AtMostTimes(1.0 / 25.0, "PM2")];
    Ok(vec![Row { figure: "no daemon → first process running".into(), unit: "ms", measured, targets }])
}

fn once(stage: &Stage) -> Result<f64> {
    let ecosystem = stage.ecosystem(1)?;
    let before = monotonic_ns();
    stage.manager.run(&["start", &ecosystem])?;
    let took = last_ns(&stage.marks.wait(1, LONG)?).saturating_sub(before);
    // Without a daemon again, and with nothing to bring back.
    stage.clear()?;
    stage.manager.end();
    Ok(ms(took))
}
