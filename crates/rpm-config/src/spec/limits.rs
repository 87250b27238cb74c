//! What the kernel grants each worker: memory, CPU time, processes.

use rpm_model::AppSpec;

use super::{Given, Reader};
use crate::values;

/// A worker needs one to exist; less memory than this starts no program.
const MEMORY_LEAST: u64 = 1024 * 1024;
/// A thousandth of what the kernel's period of 100 ms allows is its smallest quota.
const PERCENT_LEAST: u32 = 1;
const PERCENT_MOST: u32 = 1_000_000;

pub(super) fn apply(reader: &mut Reader<'_>, spec: &mut AppSpec) {
    match reader.read("memory_max", values::memory) {
        Given::Value(memory) if memory.0 < MEMORY_LEAST => reader.refuse("memory_max", "expected at least 1M"),
        given => given.put_option(&mut spec.limits.memory_max),
    }
    match reader.read("pids_max", values::number) {
        Given::Value(0) => reader.refuse("pids_max", "expected at least 1"),
        given => given.put_option(&mut spec.limits.pids_max),
    }
    match reader.read("cpu_max", values::text).map(|text| percent(&text)) {
        Given::Value(None) => {
            reader.refuse("cpu_max", "expected a number of CPUs, or a part of one in percent: 0.5, 2 or \"150%\"");
        }
        given => given.map(Option::unwrap_or_default).put_option(&mut spec.limits.cpu_max_percent),
    }
}

/// Reads `0.5`, `2` or `150%` as hundredths of a CPU.
fn percent(text: &str) -> Option<u32> {
    let text = text.trim();
    let (number, factor) = match text.strip_suffix('%') {
        Some(number) => (number, 1.0),
        None => (text, 100.0),
    };
    let percent = number.trim().parse::<f64>().ok().filter(|number| number.is_finite())? * factor;
    let percent = percent.round();
    (f64::from(PERCENT_LEAST) <= percent && percent <= f64::from(PERCENT_MOST)).then_some(percent as u32)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn cpus_and_percent_mean_the_same() {
        for (text, expected) in [("0.5", 50), ("2", 200), ("150%", 150), (" 1 % ", 1)] {
            assert_eq!(percent(text), Some(expected), "{text}");
        }
        for text in ["0", "-1", "", "%", "x", "nan", "inf", "1e9"] {
            assert_eq!(percent(text), None, "{text}");
        }
    }
}
