//! 100 processes started, all running: from before the command to the first instruction of the last process, beside a
//! bare loop of fork and exec of the same program.

use std::process::{Child, Command, Stdio};

use anyhow::Result;

use super::{Bench, LONG, MANY, in_turns, ms};
use crate::marks::last_ns;
use crate::process::monotonic_ns;
use crate::samples::Samples;
use crate::table::{Row, Target};

/// The name of the bare loop in the table.
pub(super) const LOOP: &str = "fork+exec";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let stages = bench.stages()?;
    for stage in &stages {
        stage.daemon()?;
    }
    let count = bench.samples(10, 3);
    let mut measured = in_turns(&stages, count, |stage| {
        let ecosystem = stage.ecosystem(MANY)?;
        let before = monotonic_ns();
        stage.manager.run(&["start", &ecosystem])?;
        let took = last_ns(&stage.marks.wait(MANY, LONG)?).saturating_sub(before);
        stage.clear()?;
        Ok(ms(took))
    });
    measured.push((LOOP, bare_loop(bench, count)?));
    let targets = vec![Target::AtMostTimes(3.0, LOOP)];
    Ok(vec![Row { figure: "100 processes started, all running".into(), unit: "ms", measured, targets }])
}

/// Returns how long a loop without any manager takes to start as many.
pub(super) fn bare_loop(bench: &Bench, count: usize) -> Result<Samples> {
    let (marks, tiny) = bench.bare(&format!("bare-{count}.fifo"))?;
    let once = || {
        let before = monotonic_ns();
        let mut children = Children(Vec::new());
        for _ in 0..MANY {
            let mut command = Command::new(tiny);
            command.arg(marks.fifo()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            children.0.push(command.spawn()?);
        }
        Ok(ms(last_ns(&marks.wait(MANY, LONG)?).saturating_sub(before)))
    };
    (0..count).map(|_| once()).collect::<Result<Vec<f64>>>().map(Samples::from_iter)
}

/// Processes that are ended when they go.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // A child that has ended by itself is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
