//! Death at every step, and what the next pump makes of it.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rpm_model::{LogFormat, WorkerId};
use tempfile::TempDir;

use super::files::Files;
use super::stream::{Flow, Live, Shop};
use super::{Event, SharedCounters, Stream, new_staging};
use crate::target::{Kind, Target};

/// A stream with its pipe, its staging file and two logs: what outlives a pump.
struct Scene {
    dir: TempDir,
    reader: OwnedFd,
    writer: Option<std::fs::File>,
    staging: OwnedFd,
    format: LogFormat,
    date: Option<&'static str>,
    no_splice: bool,
    max_size: Option<u64>,
}

impl Scene {
    fn new(format: LogFormat, date: Option<&'static str>) -> Self {
        let (reader, writer) = rpm_sys::fd::pipe(None).expect("a pipe");
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            reader,
            writer: Some(writer.into()),
            staging: new_staging("test").expect("a memory file"),
            format,
            date,
            no_splice: false,
            max_size: None,
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn say(&mut self, text: &[u8]) {
        self.writer.as_mut().expect("open").write_all(text).expect("the pipe has room");
    }

    fn stream(&self) -> Stream {
        Stream {
            key: "1.1.out".into(),
            pipe: self.reader.try_clone().expect("a duplicate"),
            staging: self.staging.try_clone().expect("a duplicate"),
            resume: true,
            targets: vec![Target::Path(self.log("out.log")), Target::Path(self.log("all.log"))],
            format: self.format,
            date_format: self.date.map(ToOwned::to_owned),
            kind: Kind::Out,
            worker: WorkerId(1),
            app_name: "app".into(),
            max_size: self.max_size,
        }
    }

    /// Lives a pump's life on this thread, for `steps` steps; returns whether it got through: nothing left in the pipe.
    fn live(&self, steps: Option<u32>) -> bool {
        let (mut files, mut input, mut output) = (Files::default(), Vec::new(), Vec::new());
        let counters = SharedCounters::default();
        let mut on_event = |event: Event| {
            if steps.is_none() && !matches!(event, Event::Rotated { .. }) {
                panic!("{event:?}");
            }
        };
        let mut shop = Shop {
            files: &mut files,
            input: &mut input,
            output: &mut output,
            counters: &counters,
            on_event: &mut on_event,
        };
        crate::crash::arm(steps);
        let lived = (|| {
            let mut live = Live::adopt(self.stream(), &mut shop)?;
            if self.no_splice {
                live.staging().forbid_splice();
            }
            live.carry_backlog(&mut shop)?;
            while live.advance(&mut shop)? == Flow::More {}
            crate::crash::step()
        })();
        crate::crash::arm(None);
        lived.is_ok()
    }

    /// Returns the messages of a log, without what framing added.
    fn messages(&self, name: &str) -> String {
        let archives = crate::rotate::archive::list(&self.log(name)).expect("lists");
        let parts = archives.into_iter().map(|archive| archive.path);
        // A rotated log is made anew by the next write.
        let text: String = parts.chain([self.log(name)]).flat_map(std::fs::read_to_string).collect();
        let message = |line: &str| match (self.format, self.date) {
            (LogFormat::Json, _) => serde_json::from_str::<serde_json::Value>(line).expect("a record")["message"]
                .as_str()
                .expect("text")
                .to_owned(),
            (LogFormat::Raw, Some(_)) => {
                let (date, rest) = line.split_once(": ").expect("a date");
                assert_eq!(date.len(), "1772683629042".len(), "{line}");
                format!("{rest}\n")
            }
            (LogFormat::Raw, None) => format!("{line}\n"),
        };
        text.lines().map(message).collect()
    }
}

const WAYS: [(LogFormat, Option<&str>); 3] =
    [(LogFormat::Raw, None), (LogFormat::Raw, Some("x")), (LogFormat::Json, None)];

/// Writes whose ends are not the lines' ends, over several lives, each of which dies at step `n`, for every `n`.
#[test]
fn whoever_is_killed_at_whatever_step_each_line_is_written_once() {
    for ((format, date), max_size) in WAYS.into_iter().flat_map(|way| [(way, None), (way, Some(5))]) {
        for steps in 0.. {
            let mut scene = Scene::new(format, date);
            scene.max_size = max_size;
            scene.say(b"one\ntwo\nthr");
            let mut lived = scene.live(Some(steps));
            scene.say(b"ee\nfour\n");
            lived &= scene.live(Some(steps));
            scene.say(b"five\nsix\n");
            scene.writer = None;
            lived &= scene.live(Some(steps));
            assert!(scene.live(None));
            for log in ["out.log", "all.log"] {
                assert_eq!(
                    scene.messages(log),
                    "one\ntwo\nthree\nfour\nfive\nsix\n",
                    "{format:?} {date:?} {max_size:?} {steps} {log}"
                );
            }
            if lived {
                assert!(steps > 10, "there are more steps than that");
                break;
            }
        }
    }
}

/// The write is cut after every single byte.
#[test]
fn a_write_that_was_cut_is_completed_from_where_it_was_cut() {
    for (format, date) in WAYS {
        let mut cut = 0;
        loop {
            let mut scene = Scene::new(format, date);
            scene.say(b"one\ntwo\n");
            // The steps of: header, take, taken, intent. Then the write would begin.
            let before_write = (0..).find(|steps| {
                let mut probe = Scene::new(format, date);
                probe.say(b"one\ntwo\n");
                probe.live(Some(*steps));
                std::fs::metadata(probe.log("out.log")).is_ok_and(|meta| meta.len() > 0)
            });
            scene.live(before_write.map(|steps| steps - 1));
            // What the dead one would have written.
            let mut probe = Scene::new(format, date);
            probe.staging = new_staging("copy").expect("a memory file");
            let mut page = [0; 8192];
            let length = rustix::io::pread(&scene.staging, &mut page, 0).expect("reads");
            rustix::io::pwrite(&probe.staging, &page[..length], 0).expect("copies");
            probe.writer = None;
            assert!(probe.live(None));
            let whole = std::fs::read(probe.log("out.log")).expect("the log");
            std::fs::write(scene.log("out.log"), &whole[..cut]).expect("writes");
            scene.writer = None;
            assert!(scene.live(None));
            assert_eq!(std::fs::read(scene.log("out.log")).expect("the log"), whole, "{format:?} {cut}");
            cut += 1;
            if cut > whole.len() {
                break;
            }
        }
    }
}

#[test]
fn without_splice_the_pipe_is_read() {
    for (format, date) in WAYS {
        let mut scene = Scene::new(format, date);
        scene.no_splice = true;
        scene.say(b"one\ntw");
        assert!(scene.live(None));
        scene.say(b"o\n");
        scene.writer = None;
        assert!(scene.live(None));
        assert_eq!(scene.messages("out.log"), "one\ntwo\n");
    }
}

/// Another stream came back first and wrote to the shared file: its lines are not taken for those in doubt.
#[test]
fn a_write_in_doubt_is_not_mistaken_for_what_others_wrote_since() {
    for (format, date) in WAYS {
        for steps in 0.. {
            let mut scene = Scene::new(format, date);
            scene.say(b"one\n");
            let lived = scene.live(Some(steps));
            let before = std::fs::read_to_string(scene.log("all.log")).unwrap_or_default();
            let mut other = Scene::new(format, date);
            other.say(b"two\n");
            std::mem::swap(&mut other.dir, &mut scene.dir);
            assert!(other.live(None));
            std::mem::swap(&mut other.dir, &mut scene.dir);
            scene.writer = None;
            assert!(scene.live(None));
            let text = std::fs::read_to_string(scene.log("all.log")).expect("the log");
            let cut_in_the_middle = !(before.is_empty() || before.ends_with('\n'));
            if cut_in_the_middle {
                // Nothing can put the second half before what has come since; the line is there as a whole as well.
                assert!(text.lines().last().is_some_and(|line| line.contains("one")), "{steps}: {text}");
            } else {
                let messages = scene.messages("all.log");
                assert!(["one\ntwo\n", "two\none\n"].contains(&&*messages), "{steps}: {text}");
            }
            if lived {
                break;
            }
        }
    }
}

/// A log that was emptied after the write tells nothing about it.
#[test]
fn lines_of_a_log_that_shrank_are_written_rather_than_lost() {
    let mut scene = Scene::new(LogFormat::Raw, None);
    scene.say(b"before\n");
    assert!(scene.live(None));
    scene.say(b"one\n");
    // Dies right after the write: the highest number of steps at which the header is not settled yet.
    for steps in 0.. {
        if std::fs::read(scene.log("out.log")).expect("the log").ends_with(b"one\n") {
            break;
        }
        scene.live(Some(steps));
    }
    std::fs::write(scene.log("out.log"), b"").expect("empties");
    scene.writer = None;
    assert!(scene.live(None));
    assert_eq!(scene.messages("all.log"), "before\none\n");
    assert_eq!(scene.messages("out.log"), "one\n");
}

#[test]
fn a_staging_file_that_is_not_ours_is_told_and_carried() {
    let scene = Scene::new(LogFormat::Raw, None);
    rustix::io::pwrite(&scene.staging, &[7; 4096], 0).expect("writes");
    rustix::io::pwrite(&scene.staging, b"kept\n", 4096).expect("writes");
    scene.live(Some(1000));
    assert_eq!(scene.messages("out.log"), "kept\n");
}

#[test]
fn carried_pages_are_given_back() {
    let mut scene = Scene::new(LogFormat::Raw, Some("x"));
    // Never a whole line at the end, so that something is always held.
    scene.say(b"begin");
    let line = [b"a".repeat(999), b"\nb".to_vec()].concat();
    let mut files = Files::default();
    let (mut input, mut output, counters) = (Vec::new(), Vec::new(), SharedCounters::default());
    let mut shop = Shop {
        files: &mut files,
        input: &mut input,
        output: &mut output,
        counters: &counters,
        on_event: &mut |event| panic!("{event:?}"),
    };
    let mut live = Live::adopt(scene.stream(), &mut shop).expect("adopts");
    for _ in 0..4000 {
        scene.say(&line);
        live.advance(&mut shop).expect("advances");
    }
    let stat = rustix::fs::fstat(&scene.staging).expect("a file");
    assert!(stat.st_size > 3_900_000, "offsets only grow");
    assert!(stat.st_blocks * 512 < 400_000, "{} bytes are kept", stat.st_blocks * 512);
}
