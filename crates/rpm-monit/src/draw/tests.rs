//! Frames compared with the files in `snapshots/`.

use super::*;
use crate::event::{Event, LogLine, Logged, Stream};
use crate::fixture::{NOW_MS, happened, key, list, listed, many, text_of};
use crate::theme::Theme;
use crate::traffic::{Traffic, WorkerTraffic};
use crossterm::event::KeyCode::{Char, Down, Enter, F, Tab};
use ratatui::style::Color;
use rpm_model::WorkerId;

const SIZES: [(u16, u16); 4] = [(60, 20), (80, 24), (120, 36), (200, 50)];

fn line(worker: u32, stream: Stream, text: &str) -> LogLine {
    LogLine { worker: WorkerId(worker), stream, text: text.into() }
}

/// A minute with three apps, on a screen of a size.
fn state((width, height): (u16, u16)) -> State {
    let mut state = State { theme: Theme::plain(), ..State::default() };
    state.handle(Event::Resized { width, height });
    for round in 0..60u64 {
        let mut list = list();
        for worker in list.apps.iter_mut().flat_map(|app| &mut app.workers) {
            worker.cpu *= ((round * 7 + 3) % 11) as f32 / 10.0;
            worker.memory.0 = worker.memory.0 * (round + 40) / 100;
        }
        state.handle(listed(list));
    }
    state.handle(listed(list()));
    state.handle(Event::Logged(Logged {
        following: 1,
        lines: vec![
            line(0, Stream::Out, "\x1b[32mlistening\x1b[0m on port 8000"),
            line(1, Stream::Out, "GET / 200 1.2 ms, a line that is much longer than any of the terminals that these frames are drawn for, so it is cut at the edge, or goes on in the next row where it is wrapped, and ends here"),
            line(0, Stream::Err, "warning: \x1b]0;owned\x07 deprecated"),
            line(1, Stream::Out, "GET /日本語 200"),
        ],
    }));
    state.handle(happened("api", "exit", Some("SIGSEGV (core dumped)")));
    state.handle(happened("api", "restart", Some("crash")));
    state.handle(happened("mailer \u{1b}[2J", "restart overlimit", None));
    state
}

fn press(state: &mut State, keys: &str) {
    for character in keys.chars() {
        let code = match character {
            '\n' => Enter,
            '\t' => Tab,
            '↓' => Down,
            other => Char(other),
        };
        state.handle(key(code));
    }
}

fn draw(state: &State, size: (u16, u16)) -> String {
    text_of(size, |area, buffer| screen(state, area, buffer))
}

fn expect(name: &str, keys: &str) {
    for size in SIZES {
        let mut state = state(size);
        press(&mut state, keys);
        insta::assert_snapshot!(format!("{name}-{}x{}", size.0, size.1), draw(&state, size));
    }
}

#[test]
fn the_main_view() {
    expect("main", "");
}

#[test]
fn one_worker_of_several() {
    expect("worker", "↓↓");
}

#[test]
fn a_worker_that_is_down_says_why_once() {
    expect("errored", "↓↓↓");
    let mut state = state((120, 36));
    press(&mut state, "↓↓↓");
    let drawn = draw(&state, (120, 36));
    assert!(drawn.contains("exit code 3 after 78 ms") && !drawn.contains("exit code 3, exit code 3"), "{drawn}");
}

#[test]
fn a_question_before_a_restart() {
    expect("confirm", "R");
}

#[test]
fn the_help() {
    expect("help", "?");
}

#[test]
fn the_details() {
    expect("details", "↓d");
}

#[test]
fn the_events() {
    expect("events", "e");
}

#[test]
fn the_log_wrapped_and_searched() {
    expect("log", "lw/get\n");
}

#[test]
fn a_command_being_typed() {
    expect("command", ":re\t");
}

#[test]
fn a_filter_and_an_order() {
    expect("filter", "oooo/cpu>50\n");
}

#[test]
fn behind_a_load_balancer() {
    for size in SIZES {
        let mut state = state(size);
        let traffic = |rate, p99_ms, queue| WorkerTraffic { requests_per_second: rate, p99_ms, in_flight: 3, queue };
        let both = [(WorkerId(0), traffic(12_345.6, Some(8.24), 0)), (WorkerId(1), traffic(0.4, None, 7))];
        let look = crate::event::Look { list: list(), traffic: Traffic::from(both) };
        state.handle(Event::Listed { at_ms: NOW_MS, result: Ok(look) });
        insta::assert_snapshot!(format!("traffic-{}x{}", size.0, size.1), draw(&state, size));
    }
}

#[test]
fn the_daemon_is_gone() {
    for size in SIZES {
        let mut state = state(size);
        state.handle(Event::Listed { at_ms: NOW_MS + 5000, result: Err("the daemon does not answer".into()) });
        insta::assert_snapshot!(format!("gone-{}x{}", size.0, size.1), draw(&state, size));
    }
}

#[test]
fn before_the_first_list_and_without_any_app() {
    let mut state = State { theme: Theme::plain(), size: (80, 24), ..State::default() };
    insta::assert_snapshot!("asking-80x24", draw(&state, (80, 24)));
    let mut empty = list();
    empty.apps.clear();
    state.handle(listed(empty));
    insta::assert_snapshot!("empty-80x24", draw(&state, (80, 24)));
}

#[test]
fn many_workers_are_scrolled() {
    for size in SIZES {
        let mut state = State { theme: Theme::plain(), ..State::default() };
        state.handle(Event::Resized { width: size.0, height: size.1 });
        state.handle(listed(many(500)));
        press(&mut state, " ");
        for _ in 0..150 {
            state.handle(key(Down));
        }
        let drawn = draw(&state, size);
        assert!(drawn.contains("api:149"), "{drawn}");
        insta::assert_snapshot!(format!("many-{}x{}", size.0, size.1), drawn);
    }
}

#[test]
fn a_progress_is_shown_and_a_deed_is_read_to_its_end() {
    let mut state = state((80, 24));
    press(&mut state, "r");
    state.handle(Event::Progress { done: 1, total: 2 });
    let drawn = draw(&state, (80, 24));
    assert!(drawn.contains("reload api ██████████░░░░░░░░░░ 1/2"), "{drawn}");
}

#[test]
fn no_size_is_too_small_and_no_list_too_long() {
    let keys = [
        "", "R", "/zzz", "l", "d", "?", "lg", "dG", "?G", "G", "e", "eg", "lw", "lwg", ":sc", "\t", "\t\t", "R\n", ":",
    ];
    for size in
        [(0, 0), (1, 1), (2, 3), (24, 6), (25, 7), (33, 9), (60, 6), (99, 11), (100, 7), (100, 28), (300, 2), (300, 90)]
    {
        for keys in keys {
            for first in [list(), many(300)] {
                let mut state = state(size);
                state.handle(listed(first));
                press(&mut state, keys);
                draw(&state, size);
                // A frame is drawn for the size that the terminal has by then.
                draw(&state, (size.0 / 2, size.1 / 2));
                draw(&state, (size.0 * 2, size.1 * 2));
            }
        }
    }
}

#[test]
fn escape_sequences_and_wide_names_stay_in_their_cells() {
    for size in SIZES {
        let mut state = state(size);
        for name in [
            "\x1b[31mred",
            "a\nb",
            "e\u{301}\u{200d}👩‍👩‍👧",
            "\u{202e}back",
            "名前名前名前名前名前名前名前名前名前名前名前",
        ] {
            let mut list = list();
            list.apps[0].spec.name = name.into();
            state.handle(listed(list));
            for keys in ["", "d", "d"] {
                press(&mut state, keys);
                let drawn = draw(&state, size);
                assert!(drawn.chars().all(|character| character == '\n' || !character.is_control()), "{drawn:?}");
                assert!(drawn.lines().all(|line| canvas::width_of(line) <= size.0), "{drawn}");
            }
        }
    }
}

#[test]
fn trouble_is_red_and_without_colours_nothing_is() {
    let coloured = |theme: Theme| {
        let state = State { theme, ..state((120, 36)) };
        let mut colours = Vec::new();
        text_of((120, 36), |area, buffer| {
            screen(&state, area, buffer);
            colours = buffer.content().iter().map(|cell| cell.fg).filter(|colour| *colour != Color::Reset).collect();
        });
        colours
    };
    assert!(coloured(Theme::terminal()).contains(&Color::Red));
    assert_eq!(coloured(Theme::plain()), []);
}

/// What a frame costs: `cargo test --release -p rpm-monit -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_frame_of_500_workers() {
    let size = (200, 50);
    let mut state = State::default();
    state.handle(Event::Resized { width: size.0, height: size.1 });
    for _ in 0..300 {
        state.handle(listed(many(500)));
    }
    press(&mut state, " ");
    state.handle(key(F(9)));
    let area = state.area();
    let mut buffer = ratatui::buffer::Buffer::empty(area);
    let rounds = 200;
    let begun = std::time::Instant::now();
    for _ in 0..rounds {
        buffer.reset();
        screen(&state, area, &mut buffer);
    }
    let drawn = begun.elapsed() / rounds;
    let begun = std::time::Instant::now();
    for _ in 0..rounds {
        state.handle(listed(many(500)));
    }
    println!("a frame takes {drawn:?}, a list {:?} (making it included)", begun.elapsed() / rounds);
}
