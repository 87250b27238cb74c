//! Where the output of a process goes: straight into its log, through a pipe to the log thread, or to `runtime`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rpm_logs::{Kind, LogPaths, Pump, Stream, hand};
use rpm_model::{AppSpec, Life, LogTarget, WorkerId};

use crate::daemon::Daemon;
use crate::process::SeatFiles;

/// The buffer of a log pipe: the most a worker can write ahead of a dead daemon.
const LOG_PIPE: usize = 1024 * 1024;

/// Returns the stream that carries what comes out of a pipe, through its staging file, to the logs of a worker.
pub(crate) fn stream(
    life: Life,
    spec: &AppSpec,
    logs: &LogPaths,
    kind: Kind,
    key: String,
    (pipe, staging): (OwnedFd, OwnedFd),
) -> Stream {
    Stream {
        key,
        pipe,
        staging,
        resume: false,
        targets: logs.targets(kind),
        format: spec.logs.format,
        date_format: spec.logs.date_format.clone(),
        kind,
        worker: life.worker,
        app_name: spec.name.clone(),
        max_size: spec.logs.rotation.max_size.map(|size| size.0),
    }
}

impl Daemon {
    /// Opens where the output goes.
    pub(crate) fn open_output(
        &mut self,
        life: Life,
        spec: &AppSpec,
        logs: &LogPaths,
        names: impl Fn(Kind) -> LogNames,
    ) -> Result<Output, String> {
        let mut output = Output::default();
        for path in [&logs.out, &logs.err, &logs.combined].into_iter().flatten() {
            let failed = |error| format!("the log {} cannot be opened: {error}", path.display());
            hand::choose(path, spec, &self.home).map_err(failed)?;
        }
        let direct = self.logs.is_direct(spec, logs);
        for (kind, slot) in [(Kind::Out, &mut output.out), (Kind::Err, &mut output.err)] {
            if *spec.logs.target(kind == Kind::Err) == LogTarget::Console {
                let path = rpm_logs::console_path(life.worker, kind, &self.home);
                let failed = |error| format!("the pipe {} cannot be opened: {error}", path.display());
                let child = rpm_logs::console_writer(&path).map_err(failed)?;
                self.consoles.insert((life.worker, kind), child.try_clone().map_err(failed)?);
                *slot = Some(Stdio { child, keep: Vec::new() });
                continue;
            }
            let paths = logs.of(kind);
            let Some(first) = paths.first() else { continue };
            if direct {
                self.logs.claim(first);
                let failed = |error| format!("the log {} cannot be opened: {error}", first.display());
                *slot = Some(Stdio { child: rpm_logs::direct(first).map_err(failed)?, keep: Vec::new() });
                continue;
            }
            let names = names(kind);
            let (read, write) = rpm_sys::fd::pipe_outlived(Some(LOG_PIPE), false).map_err(|error| error.to_string())?;
            let staging = rpm_logs::new_staging("rpm-log").map_err(|error| error.to_string())?;
            let duplicate = |fd: BorrowedFd<'_>| rpm_sys::fd::dup(fd).map_err(|error| error.to_string());
            let ends = (duplicate(read.as_fd())?, duplicate(staging.as_fd())?);
            self.pump()?.add(stream(life, spec, logs, kind, names.stream.clone(), ends));
            *slot = Some(Stdio { child: write, keep: vec![(names.pipe, read), (names.staging, staging)] });
        }
        Ok(output)
    }

    /// Notes which files are a worker's, and in whose name they are opened.
    pub(crate) fn keep_files(&mut self, worker: WorkerId, spec: &AppSpec, files: SeatFiles) {
        let SeatFiles { logs: LogPaths { out, err, combined }, pid, .. } = &files;
        for path in [out, err, combined].into_iter().flatten().chain([pid]) {
            if let Err(error) = hand::choose(path, spec, &self.home) {
                tracing::warn!("{} of {}: {error}", path.display(), spec.name);
            }
        }
        self.seats.insert(worker, files);
    }

    /// Returns the log thread, started at its first use.
    pub(crate) fn pump(&mut self) -> Result<&Pump, String> {
        if self.pump.is_none() {
            let news = self.pump_news.0.clone();
            let pump = Pump::start(move |event| {
                // The loop may have left already.
                let _ = news.send(event);
            });
            self.pump = Some(pump.map_err(|error| format!("the log thread could not be started: {error}"))?);
        }
        self.pump.as_ref().ok_or_else(|| "the log thread is gone".to_owned())
    }
}

/// Where the output of one process goes.
#[derive(Default)]
pub(crate) struct Output {
    out: Option<Stdio>,
    err: Option<Stdio>,
}

impl Output {
    /// Returns what the child writes to, and the numbers that it has there.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = (BorrowedFd<'_>, i32)> {
        let both = [(&self.out, 1), (&self.err, 2)];
        both.into_iter().filter_map(|(output, number)| Some((output.as_ref()?.child.as_fd(), number)))
    }

    /// Returns what the keeper is to hold, and by which names.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        let both = [&self.out, &self.err].into_iter().flatten();
        both.flat_map(|output| &output.keep).map(|(name, fd)| (name.as_str(), fd.as_fd()))
    }
}

/// One stream of output.
struct Stdio {
    /// What the child writes to.
    child: OwnedFd,
    /// What the keeper holds, so that a dead daemon means waiting, not SIGPIPE.
    keep: Vec<(String, OwnedFd)>,
}

/// The names of one log stream: for the pump, and for what the keeper holds of it.
pub(crate) struct LogNames {
    pub(crate) stream: String,
    pub(crate) pipe: String,
    pub(crate) staging: String,
}

impl LogNames {
    pub(crate) fn of(life: Life, kind: Kind) -> Self {
        let stream = match kind {
            Kind::Out => format!("{life}/out"),
            Kind::Err => format!("{life}/err"),
        };
        Self::named(stream)
    }

    /// Returns those of a task, which nobody holds beside the daemon.
    pub(crate) fn of_task(key: &str, kind: Kind) -> Self {
        Self::named(match kind {
            Kind::Out => format!("{key}/out"),
            Kind::Err => format!("{key}/err"),
        })
    }

    fn named(stream: String) -> Self {
        Self { pipe: format!("log/{stream}/pipe"), staging: format!("log/{stream}/staging"), stream }
    }
}
