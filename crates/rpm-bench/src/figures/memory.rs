//! Memory of the manager itself with 100 workers (proportional set size), and how it has grown after 2000 crashes.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::killed::kill_all;
use super::{Bench, MANY, Stage};
use crate::process::pss_mib;
use crate::samples::Samples;
use crate::table::{Row, Target};

/// After a burst of work: what is freed later is not held against anyone.
const SETTLE: Duration = Duration::from_secs(3);
/// A hundred at a time.
const CRASHES: usize = 2000;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (mut size, mut growth) = (Vec::new(), Vec::new());
    for stage in &bench.stages()? {
        match measure_one(stage) {
            Ok((before, after)) => {
                size.push((stage.name(), Samples::from_iter([before])));
                growth.push((stage.name(), Samples::from_iter([after - before])));
            }
            Err(error) => eprintln!("{}: {error:#}", stage.name()),
        }
    }
    Ok(vec![
        Row {
            figure: "memory of the manager with 100 workers (PSS)".into(),
            unit: "MiB",
            measured: size,
            targets: vec![Target::AtMost(8.0)],
        },
        Row {
            figure: "its growth after 2000 crashes and restarts".into(),
            unit: "MiB",
            measured: growth,
            targets: vec![Target::AtMost(0.5)],
        },
    ])
}

/// Returns the size before and after the crashes.
fn measure_one(stage: &Stage) -> Result<(f64, f64)> {
    let mut pids = stage.start(MANY)?;
    thread::sleep(SETTLE);
    let before = pss_mib(&stage.manager.own_pids()?)?;
    for _ in 0..CRASHES / MANY {
        kill_all(stage, &mut pids)?;
    }
    thread::sleep(SETTLE);
    Ok((before, pss_mib(&stage.manager.own_pids()?)?))
}
