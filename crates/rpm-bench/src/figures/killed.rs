//! 100 workers killed at once, all back: from the first SIGKILL to the first instruction of the last replacement.

use std::cell::RefCell;
use std::collections::HashMap;

use anyhow::Result;

use super::start::{LOOP, bare_loop};
use super::{Bench, LONG, MANY, in_turns, ms};
use crate::marks::{Mark, last_ns};
use crate::process::{self, monotonic_ns};
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    let pids = RefCell::new(HashMap::new());
    for stage in &stages {
        pids.borrow_mut().insert(stage.name(), stage.start(MANY)?);
    }
    let count = bench.samples(10, 3);
    let mut measured = in_turns(&stages, count, |stage| {
        let (took, marks) = kill_all(stage, &pids.borrow()[stage.name()])?;
        pids.borrow_mut().insert(stage.name(), marks.iter().map(|mark| mark.pid).collect());
        Ok(ms(took))
    });
    measured.push((LOOP, bare_loop(bench, count)?));
    let targets = vec![Target::AtMostTimes(3.0, LOOP)];
    Ok(vec![Row { figure: "100 workers killed at once, all back".into(), unit: "ms", measured, targets }])
}

/// Kills these and waits for as many replacements; returns the time to the last one, and who they are.
pub(super) fn kill_all(stage: &super::Stage, pids: &[i32]) -> Result<(u64, Vec<Mark>)> {
    let before = monotonic_ns();
    pids.iter().for_each(|pid| process::kill(*pid));
    let marks = stage.marks.wait(pids.len(), LONG)?;
    Ok((last_ns(&marks).saturating_sub(before), marks))
}
