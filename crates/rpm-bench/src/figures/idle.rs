//! CPU of the manager itself while 100 workers do nothing, in percent of one core.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Bench, MANY};
use crate::process::cpu_time;
use crate::samples::Samples;
use crate::table::{Row, Target};

/// After the start of a hundred processes.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    for stage in &stages {
        stage.start(MANY)?;
    }
    thread::sleep(SETTLE);
    // All at the same time: what does nothing does not disturb the others.
    let spent = || stages.iter().map(|stage| cpu_time(&stage.manager.own_pids()?)).collect::<Result<Vec<_>>>();
    let (before, started) = (spent()?, Instant::now());
    thread::sleep(Duration::from_secs(bench.samples(30, 10) as u64));
    let (after, took) = (spent()?, started.elapsed());
    let share = |index: usize| (after[index] - before[index]).as_secs_f64() / took.as_secs_f64() * 100.0;
    let measured =
        stages.iter().enumerate().map(|(index, stage)| (stage.name(), Samples::from_iter([share(index)]))).collect();
    let figure = format!("CPU of the manager, 100 workers idle, {} s", took.as_secs());
    Ok(vec![Row { figure, unit: "% of a core", measured, targets: vec![Target::AtMost(0.05)] }])
}
