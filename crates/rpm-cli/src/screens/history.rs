//! What has happened, for people: one event a line, one end a paragraph.

use std::fmt::Write as _;

use jiff::tz::TimeZone;
use rpm_model::Exit;
use rpm_records::{EventRecord, ExitRecord};

use crate::say::{GREY, RED, YELLOW};
use crate::screens::format::{self, BOLD};

/// Writes one event: `11-25 21:40:01.123  api 0       exit      exit code 3`.
pub fn event(event: &EventRecord) -> String {
    let who = match (&event.app, event.worker) {
        (Some(app), Some(worker)) => format!("{} {worker}", format::one_line(app)),
        (Some(app), None) => format::one_line(app),
        (None, _) => String::new(),
    };
    let style = match event.event.as_str() {
        "errored" | "restart overlimit" | "unhealthy" => RED,
        "exit" | "lost" => YELLOW,
        _ => BOLD,
    };
    let mut text = format!("{GREY}{}{GREY:#}  {who:<14} {style}{:<10}{style:#}", time(event.at_ms), event.event);
    if let Some(detail) = &event.detail {
        let _ = write!(text, " {}", format::one_line(detail));
    }
    if let Some(by) = &event.by {
        let _ = write!(text, " {GREY}by {}{GREY:#}", format::one_line(by));
    }
    format!("{}\n", text.trim_end())
}

/// Writes one end, with up to `lines` of the last lines of each stream.
pub fn exit(exit: &ExitRecord, lines: usize, now_ms: u64) -> String {
    let ago = format::uptime(exit.at_ms, now_ms);
    let name = format::one_line(&exit.app);
    let mut text = format!(
        "{BOLD}{name} {}{BOLD:#} (pid {}) {}, {ago} ago: {}\n",
        exit.worker,
        exit.pid,
        time(exit.at_ms),
        ending(exit)
    );
    let _ = writeln!(text, "  {}", figures(exit));
    text.push_str(&core(exit));
    for (stream, said) in [("out", &exit.out), ("err", &exit.err)] {
        for line in &said[said.len().saturating_sub(lines)..] {
            let _ = writeln!(text, "  {GREY}{stream} |{GREY:#} {}", format::one_line(line));
        }
    }
    text
}

/// Says how a process ended, as a fragment: `exit code 3 after 78 ms, by itself`.
pub fn ending(exit: &ExitRecord) -> String {
    let end = exit.exit;
    let uptime = spell(exit.uptime_ms);
    let Some(asked) = &exit.asked else {
        return match (end, exit.oom) {
            (_, Some(true)) => format!("killed by the kernel for want of memory ({end}) after {uptime}"),
            (Exit::Signal { signal: 9, .. }, None) => {
                format!("{end} after {uptime}, nobody knows by whom: perhaps by the kernel for want of memory")
            }
            (Exit::Signal { .. }, _) => format!("{end} after {uptime}, not sent by rpm"),
            (Exit::Code(_), _) => format!("{end} after {uptime}, by itself"),
            (Exit::Unknown, _) => format!("ended after about {uptime}, nobody saw how"),
        };
    };
    let mut text = format!("{end} after {uptime}, asked to leave: {}", format::one_line(&asked.cause));
    if let Some(detail) = &asked.detail {
        let _ = write!(text, ": {}", format::one_line(detail));
    }
    if let Some(by) = &asked.by {
        let _ = write!(text, " by {}", format::one_line(by));
    }
    text
}

/// Says in a line where its core dump is, if that is known.
pub fn core(exit: &ExitRecord) -> String {
    exit.core
        .as_ref()
        .map(|core| format!("  its core dump: {}\n", format::one_line(&core.to_string())))
        .unwrap_or_default()
}

/// Says what a process used: `memory 55mb (at most 80mb), cpu 1.5%, 3.2 s of CPU time`.
pub fn figures(exit: &ExitRecord) -> String {
    let memory = match (exit.memory, exit.memory_max) {
        (Some(memory), Some(max)) => Some(format!("memory {memory} (at most {max})")),
        (Some(memory), None) => Some(format!("memory {memory}")),
        (None, max) => max.map(|max| format!("memory at most {max}")),
    };
    let cpu = exit.cpu.map(|cpu| format!("cpu {}", format::cpu(cpu)));
    let time = exit.cpu_ms.map(|ms| format!("{} of CPU time", spell(ms)));
    let known: Vec<String> = [memory, cpu, time].into_iter().flatten().collect();
    if known.is_empty() { "nobody saw what it used".to_owned() } else { known.join(", ") }
}

/// Writes a duration for people: `120 ms`, `1.5 s`, `3 min`, `5 h`, `2 d`.
pub fn spell(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{:.1} s", ms as f64 / 1000.0).replace(".0 ", " "),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

fn time(ms: u64) -> String {
    let moment = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(
        || "N/A".into(),
        |moment| moment.to_zoned_datetime(TimeZone::system()).strftime("%m-%d %H:%M:%S%.3f").to_string(),
    )
}

#[cfg(test)]
pub mod samples {
    //! Ends for tests.

    use rpm_model::{Bytes, Life, WorkerId};

    use super::*;

    /// The end of worker 0 of `api`, by itself with code 3.
    pub fn crash(at_ms: u64) -> ExitRecord {
        ExitRecord {
            at_ms,
            app: "api".into(),
            worker: WorkerId(0),
            instance: 0,
            life: Life::new(WorkerId(0), 1),
            pid: 42,
            started_at_ms: at_ms - 78,
            uptime_ms: 78,
            exit: Exit::Code(3),
            core: None,
            oom: Some(false),
            memory: Some(Bytes(0)),
            memory_max: Some(Bytes(40 << 20)),
            cpu: Some(0.0),
            cpu_ms: Some(60),
            asked: None,
            out: Vec::new(),
            err: vec!["Error: no database".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use rpm_records::Asked;

    use super::*;

    #[test]
    fn an_end_says_how_and_who_asked() {
        let crash = samples::crash(100_000);
        assert_eq!(ending(&crash), "exit code 3 after 78 ms, by itself");
        let killed = Exit::Signal { signal: 9, core: false };
        let oom = ExitRecord { exit: killed, oom: Some(true), ..crash.clone() };
        assert_eq!(ending(&oom), "killed by the kernel for want of memory (SIGKILL) after 78 ms");
        let shot = ExitRecord { exit: killed, ..crash.clone() };
        assert_eq!(ending(&shot), "SIGKILL after 78 ms, not sent by rpm");
        let unclear = ExitRecord { oom: None, ..shot };
        let text = "SIGKILL after 78 ms, nobody knows by whom: perhaps by the kernel for want of memory";
        assert_eq!(ending(&unclear), text);
        let asked = Asked { cause: "stop".into(), by: Some("root on pts/3 (rpm stop api)".into()), detail: None };
        let stopped = ExitRecord { asked: Some(asked), ..crash.clone() };
        assert_eq!(ending(&stopped), "exit code 3 after 78 ms, asked to leave: stop by root on pts/3 (rpm stop api)");
        assert_eq!(figures(&crash), "memory 0b (at most 40mb), cpu 0%, 60 ms of CPU time");
        let missed = ExitRecord { memory: None, cpu: None, ..crash };
        assert_eq!(figures(&missed), "memory at most 40mb, 60 ms of CPU time");
        let nothing = ExitRecord { memory_max: None, cpu_ms: None, ..missed };
        assert_eq!(figures(&nothing), "nobody saw what it used");
    }
}
