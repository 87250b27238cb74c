//! No daemon → first process running: until the first instruction of the program, on its own clock.

use anyhow::Result;

use super::{Bench, LONG, in_turns, ms};
use crate::marks::last_ns;
use crate::process::monotonic_ns;
use crate::table::{Row, Target};

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    let measured = in_turns(&stages, bench.samples(10, 3), |stage| {
        let ecosystem = stage.ecosystem(1)?;
        let before = monotonic_ns();
        stage.manager.run(&["start", &ecosystem])?;
        let took = last_ns(&stage.marks.wait(1, LONG)?).saturating_sub(before);
        // Without a daemon again, and without anything it has saved.
        stage.clear()?;
        stage.manager.end();
        Ok(ms(took))
    });
    let targets = vec![Target::AtMostTimes(1.0 / 25.0, "PM2")];
    Ok(vec![Row { figure: "no daemon → first process running".into(), unit: "ms", measured, targets }])
}
