//! 100 processes started, all running: from before the command to the first instruction of the last process, beside a
//! bare loop of fork and exec of the same program.

use anyhow::Result;

use super::bare::LOOP;
use super::{Bench, Contender, LONG, MANY, Stage, in_turns, ms};
use crate::marks::last_ns;
use crate::process::monotonic_ns;
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (stages, bare) = (bench.stages()?, bench.bare()?);
    for stage in &stages {
        stage.daemon()?;
    }
    let mut contenders: Vec<_> = stages.iter().map(|stage| Contender::new(stage.name(), || once(stage))).collect();
    contenders.push(Contender::new(LOOP, || bare.once()));
    let measured = in_turns(contenders, bench.samples(10, 3));
    let targets = vec![Target::AtMostTimes(3.0, LOOP)];
    Ok(vec![Row { figure: "100 processes started, all running".into(), unit: "ms", measured, targets }])
}

fn once(stage: &Stage) -> Result<f64> {
    let ecosystem = stage.ecosystem(MANY)?;
    let before = monotonic_ns();
    stage.manager.run(&["start", &ecosystem])?;
    let took = last_ns(&stage.marks.wait(MANY, LONG)?).saturating_sub(before);
    stage.clear()?;
    Ok(ms(took))
}
