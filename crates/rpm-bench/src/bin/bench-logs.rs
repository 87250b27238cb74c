//! What logs cost: an app's writes per second by each way its output can take, as ratios to `program > file` in the
//! same run; the daemon's CPU for a gigabyte; the time from a write to a follower. `make bench-logs`.
//!
//! The program that writes is this one (`bench-logs write`): lines of one size, each one write, as fast as it can. It times
//! itself and reports to a file, so that starting it and stopping it are left out. Ways take turns, round by round, and the
//! median of the rounds counts: disks and neighbours have moods.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rpm_bench::manager::{clean_up_when_interrupted, count_in};
use rpm_bench::process::pss_mib;

/// A round of one way takes about this long at the speed of a pipe.
const BYTES: [(usize, u64); 3] = [(100, 48 << 20), (4 << 10, 512 << 20), (64 << 10, 1 << 30)];

/// PM2 takes minutes for what takes others a second.
const PM2_BYTES: [(usize, u64); 3] = [(100, 4 << 20), (4 << 10, 64 << 20), (64 << 10, 128 << 20)];

/// Of `/proc/PID/stat`, the same on every Linux.
const TICKS: f64 = 100.0;

/// Longer than anything measured here takes.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Parser)]
struct Args {
    /// The rpm to measure: $RPM_BIN, else the one on PATH
    #[arg(long)]
    rpm: Option<PathBuf>,
    /// Measure this PM2 beside it
    #[arg(long)]
    pm2: Option<PathBuf>,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Write so many times as much: floods that last longer than the disk can be behind
    #[arg(long, default_value_t = 1)]
    longer: u64,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(clap::Subcommand)]
enum Role {
    /// Writes TOTAL bytes in lines of SIZE, and the seconds it took into REPORT
    #[command(hide = true)]
    Write { size: usize, total: u64, report: PathBuf },
    /// Writes the time, in nanoseconds, twenty times a second
    #[command(hide = true)]
    Tick,
}

/// How the output goes.
struct Way {
    name: &'static str,
    keys: &'static str,
    is_pm2: bool,
}

const WAYS: [Way; 5] = [
    Way { name: "rpm, rotation off", keys: r#", "max_log_size": 0"#, is_pm2: false },
    Way { name: "rpm, as it is", keys: "", is_pm2: false },
    Way { name: "rpm, rotating at 32M", keys: r#", "max_log_size": "32M", "log_retain": 2"#, is_pm2: false },
    Way { name: "rpm --time", keys: r#", "time": true"#, is_pm2: false },
    Way { name: "rpm json", keys: r#", "log_type": "json""#, is_pm2: false },
];

const PM2_WAYS: [Way; 3] = [
    Way { name: "pm2", keys: "", is_pm2: true },
    Way { name: "pm2 --time", keys: r#", "time": true"#, is_pm2: true },
    Way { name: "pm2 json", keys: r#", "log_type": "json""#, is_pm2: true },
];

fn main() -> Result<()> {
    let args = Args::parse();
    match args.role {
        Some(Role::Write { size, total, report }) => return write(size, total, &report),
        Some(Role::Tick) => return tick(),
        None => {}
    }
    let rpm = args.rpm.or_else(|| std::env::var_os("RPM_BIN").map(PathBuf::from)).unwrap_or_else(|| "rpm".into());
    clean_up_when_interrupted()?;
    let bench = Bench { dir: tempfile::tempdir()?, rpm, pm2: args.pm2 };
    count_in(bench.dir.path());
    let result = bench.throughput(args.rounds, args.longer).and_then(|()| bench.latency());
    bench.stop();
    result
}

fn write(size: usize, total: u64, report: &Path) -> Result<()> {
    let mut line = vec![b'x'; size];
    line[size - 1] = b'\n';
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let begin = Instant::now();
    for _ in 0..total / size as u64 {
        out.write_all(&line)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    std::fs::write(report.with_extension("part"), seconds.to_string())?;
    std::fs::rename(report.with_extension("part"), report)?;
    // A manager would start it again.
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

fn tick() -> Result<()> {
    loop {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        println!("{}", now.as_nanos());
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Bench {
    dir: tempfile::TempDir,
    rpm: PathBuf,
    pm2: Option<PathBuf>,
}

impl Bench {
    fn throughput(&self, rounds: usize, longer: u64) -> Result<()> {
        let ways: Vec<&Way> = WAYS.iter().chain(PM2_WAYS.iter().filter(|_| self.pm2.is_some())).collect();
        println!(
            "MB/s written by the app (ratio to `program > file`), median of {rounds}; daemon: CPU seconds per GB, MiB (PSS)"
        );
        for (n, (size, total)) in BYTES.into_iter().enumerate() {
            let total = total * longer;
            let mut bare = Vec::new();
            let mut rates: Vec<Vec<[f64; 3]>> = ways.iter().map(|_| Vec::new()).collect();
            for round in 0..rounds {
                bare.push(self.bare(size, total)?);
                for turn in 0..ways.len() {
                    // Another one begins each round: what one has written, the disk still takes while the next one runs.
                    let at = (turn + round * 2) % ways.len();
                    let total = if ways[at].is_pm2 { PM2_BYTES[n].1 } else { total };
                    rates[at].push(self.managed(ways[at], size, total)?);
                }
            }
            let bare = median(bare);
            println!("\n{size} bytes: program > file {bare:.0} MB/s");
            for (way, rates) in ways.iter().zip(rates) {
                let [rate, cpu, memory] = [0, 1, 2].map(|at| median(rates.iter().map(|round| round[at]).collect()));
                let ratio = rate / bare;
                println!("  {:24} {rate:8.1} MB/s  {ratio:6.3}  {cpu:6.2} s/GB  {memory:6.1} MiB", way.name);
            }
        }
        Ok(())
    }

    /// `program > file`.
    fn bare(&self, size: usize, total: u64) -> Result<f64> {
        let (report, log) = (self.dir.path().join("report"), self.dir.path().join("bare.log"));
        let out = File::options().append(true).create(true).open(&log)?;
        self.prepare(total)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["write", &size.to_string(), &total.to_string()])
            .arg(&report)
            .stdout(out)
            .spawn()?;
        let seconds = wait_for(&report);
        child.kill()?;
        child.wait()?;
        std::fs::remove_file(&log)?;
        Ok(total as f64 / 1e6 / seconds?)
    }

    /// The same under a manager; also the CPU that its daemon used for a gigabyte, and its memory right after that.
    fn managed(&self, way: &Way, size: usize, total: u64) -> Result<[f64; 3]> {
        let report = self.dir.path().join("report");
        let config = self.dir.path().join("app.json");
        let app = format!(
            r#"{{"apps": [{{"name": "w", "script": {:?}, "interpreter": "none", "args": ["write", "{size}", "{total}", {:?}]{}}}]}}"#,
            std::env::current_exe()?,
            report,
            way.keys
        );
        std::fs::write(&config, app)?;
        self.prepare(total)?;
        // The daemon is there before the time begins.
        self.run(way.is_pm2, &["ping"])?;
        let before = self.daemon_cpu(way.is_pm2)?;
        self.run(way.is_pm2, &["start", &config.to_string_lossy()])?;
        let seconds = wait_for(&report)?;
        // What is still in the pipe is carried, too, and what is due is rotated and compressed.
        std::thread::sleep(Duration::from_millis(300));
        let logs = self.home(way.is_pm2).join("logs");
        wait_for_rotations(&logs)?;
        let cpu = self.daemon_cpu(way.is_pm2)? - before;
        let memory = pss_mib(&[self.daemon(way.is_pm2)?])?;
        self.run(way.is_pm2, &["delete", "w"])?;
        let _ = std::fs::remove_dir_all(&logs);
        std::fs::create_dir_all(&logs)?;
        Ok([total as f64 / 1e6 / seconds, cpu / (total as f64 / 1e9), memory])
    }

    /// The median of the time from a write to the line that a follower prints.
    fn latency(&self) -> Result<()> {
        println!("\nfrom a write to a follower's line, median of 100");
        for (is_pm2, name) in [(false, "rpm logs"), (true, "pm2 logs")] {
            if is_pm2 && self.pm2.is_none() {
                continue;
            }
            let exe = std::env::current_exe()?;
            self.run(
                is_pm2,
                &["start", &exe.to_string_lossy(), "--interpreter", "none", "--name", "tick", "--", "tick"],
            )?;
            let mut follower =
                self.command(is_pm2, &["logs", "tick", "--raw", "--lines", "0"])?.stdout(Stdio::piped()).spawn()?;
            let mut delays = Vec::new();
            let lines = BufReader::new(follower.stdout.take().context("a pipe")?).lines();
            for line in lines {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
                if let Ok(written) = line?.trim().parse::<u128>() {
                    delays.push((now - written) as f64 / 1e6);
                }
                if delays.len() == 110 {
                    break;
                }
            }
            follower.kill()?;
            follower.wait()?;
            self.run(is_pm2, &["delete", "tick"])?;
            // The first ones waited for the follower to begin.
            println!("  {name:24} {:8.3} ms", median(delays.split_off(10.min(delays.len()))));
        }
        Ok(())
    }

    /// Has the disk take what was written before, so that the next one does not pay for it; and the memory there that it
    /// will be written to: a virtual machine gives back to its host what is free, and waits for each page that it then wants.
    fn prepare(&self, total: u64) -> Result<()> {
        rustix::fs::syncfs(File::open(self.dir.path())?)?;
        let mut scratch = tempfile::tempfile_in(self.dir.path())?;
        std::io::copy(&mut std::io::repeat(b'x').take(total.min(1 << 30)), &mut scratch)?;
        Ok(())
    }

    fn home(&self, is_pm2: bool) -> PathBuf {
        self.dir.path().join(if is_pm2 { "pm2" } else { "rpm" })
    }

    fn command(&self, is_pm2: bool, args: &[&str]) -> Result<Command> {
        let program = match (is_pm2, &self.pm2) {
            (true, Some(pm2)) => pm2,
            (true, None) => bail!("no PM2 was given"),
            (false, _) => &self.rpm,
        };
        let mut command = Command::new(program);
        let variable = if is_pm2 { "PM2_HOME" } else { "RPM_HOME" };
        command.args(args).env(variable, self.home(is_pm2)).stdin(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    fn run(&self, is_pm2: bool, args: &[&str]) -> Result<()> {
        let status = self.command(is_pm2, args)?.stdout(Stdio::null()).status()?;
        if !status.success() {
            bail!("{} failed", args.join(" "));
        }
        Ok(())
    }

    fn daemon(&self, is_pm2: bool) -> Result<i32> {
        let file = if is_pm2 { "pm2.pid" } else { "rpm.pid" };
        Ok(std::fs::read_to_string(self.home(is_pm2).join(file))?.trim().parse()?)
    }

    /// Returns the seconds that the daemon has computed so far.
    fn daemon_cpu(&self, is_pm2: bool) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon(is_pm2)?))?;
        let fields: Vec<&str> = stat.rsplit(')').next().context("a stat line")?.split_whitespace().collect();
        let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks / TICKS)
    }

    fn stop(&self) {
        for is_pm2 in [false, true] {
            // What was not started is not stopped.
            let _ = self.run(is_pm2, &["kill"]);
        }
    }
}

/// Waits until the writer reports, and returns its seconds.
fn wait_for(report: &Path) -> Result<f64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = std::fs::read_to_string(report) {
            std::fs::remove_file(report)?;
            return Ok(text.trim().parse()?);
        }
        if Instant::now() > deadline {
            bail!("the writer did not come to its end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until no log is being moved to an archive, and none compressed.
fn wait_for_rotations(logs: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let is_busy = |name: &str| name.ends_with(".copying") || name.contains(".copied-") || name.ends_with(".part");
    loop {
        let names = std::fs::read_dir(logs)?.map(|entry| Ok(entry?.file_name()));
        let names: Vec<_> = names.collect::<std::io::Result<_>>()?;
        if !names.iter().any(|name| is_busy(&name.to_string_lossy())) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("rotations did not come to their end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
