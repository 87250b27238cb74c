//! 100 workers killed at once, all back: from the first SIGKILL to the first instruction of the last replacement.

use anyhow::Result;

use super::bare::LOOP;
use super::{Bench, Contender, LONG, MANY, Stage, in_turns, ms};
use crate::marks::last_ns;
use crate::process::{self, monotonic_ns};
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (stages, bare) = (bench.stages()?, bench.bare()?);
    let mut contenders = Vec::new();
    for stage in &stages {
        let mut pids = stage.start(MANY)?;
        contenders.push(Contender::new(stage.name(), move || kill_all(stage, &mut pids)));
    }
    contenders.push(Contender::new(LOOP, || bare.once()));
    let measured = in_turns(contenders, bench.samples(10, 3));
    let targets = vec![Target::AtMostTimes(3.0, LOOP)];
    Ok(vec![Row { figure: "100 workers killed at once, all back".into(), unit: "ms", measured, targets }])
}

/// Kills these, waits for as many replacements and puts them in their place; returns the milliseconds to the last one.
pub(super) fn kill_all(stage: &Stage, pids: &mut Vec<i32>) -> Result<f64> {
    let before = monotonic_ns();
    pids.iter().for_each(|pid| process::kill(*pid));
    let marks = stage.marks.wait(pids.len(), LONG)?;
    *pids = marks.iter().map(|mark| mark.pid).collect();
    Ok(ms(last_ns(&marks).saturating_sub(before)))
}
