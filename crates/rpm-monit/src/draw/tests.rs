//! Frames compared with the files in `frames/`. `UPDATE_FRAMES=1` writes them anew; read the difference.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::event::{Event, Logged};
use crate::fixture::{NOW_MS, key, list, listed};
use crate::tail::{LogLine, Stream};
use crossterm::event::KeyCode::{Char, Down};

const SIZES: [(u16, u16); 3] = [(60, 20), (80, 24), (120, 36)];

fn state() -> State {
    let mut state = State::default();
    for round in 0..8u64 {
        let mut list = list();
        for worker in list.apps.iter_mut().flat_map(|app| &mut app.workers) {
            worker.cpu *= (round + 1) as f32 / 8.0;
            worker.memory.0 = worker.memory.0 * (round + 4) / 11;
        }
        state.handle(listed(list));
    }
    let line = |stream, text: &str| LogLine { stream, text: text.into() };
    state.handle(Event::Logged(Logged::Anew(vec![
        line(Stream::Out, "\x1b[32mlistening\x1b[0m on port 8000"),
        line(Stream::Out, "GET / 200 1.2 ms, a line that is much longer than any of the terminals that these frames are drawn for, so it is cut at the edge"),
        line(Stream::Err, "warning: \x1b]0;owned\x07 deprecated"),
        line(Stream::Out, "GET /日本語 200"),
    ])));
    state
}

fn draw(state: &State, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen(state, &Theme::plain(), frame.area(), frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in 0..height {
        let mut line = String::new();
        let mut column = 0;
        while column < width {
            let symbol = buffer[(column, row)].symbol();
            line.push_str(symbol);
            // A wide character covers the cell after it.
            column += canvas::width_of(symbol).max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn expect(name: &str, state: &State) {
    for (width, height) in SIZES {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/draw/frames/{name}-{width}x{height}.txt"));
        let drawn = draw(state, (width, height));
        if std::env::var_os("UPDATE_FRAMES").is_some() {
            std::fs::write(&file, &drawn).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(drawn == expected, "{} differs; it is now\n{drawn}", file.display());
    }
}

#[test]
fn the_main_view() {
    expect("main", &state());
}

#[test]
fn a_worker_that_is_down_says_why() {
    let mut state = state();
    state.handle(key(Down));
    state.handle(key(Down));
    expect("errored", &state);
}

#[test]
fn a_question_before_a_restart() {
    let mut state = state();
    state.handle(key(Char('R')));
    expect("confirm", &state);
}

#[test]
fn the_help() {
    let mut state = state();
    state.handle(key(Char('?')));
    expect("help", &state);
}

#[test]
fn the_details() {
    let mut state = state();
    state.handle(key(Down));
    state.handle(key(Char('d')));
    expect("details", &state);
}

#[test]
fn the_daemon_is_gone() {
    let mut state = state();
    state.handle(Event::Listed { at_ms: NOW_MS + 5000, result: Err("the daemon does not answer".into()) });
    expect("gone", &state);
}

#[test]
fn before_the_first_list() {
    expect("asking", &State::default());
}

#[test]
fn no_size_is_too_small_and_no_list_too_long() {
    let mut long = list();
    let template = long.apps[0].workers[0].clone();
    long.apps[0].workers =
        (0..300).map(|id| rpm_ipc::WorkerInfo { id: rpm_model::WorkerId(id), ..template.clone() }).collect();
    let mut states: Vec<State> = ["", "R", "/zzz", "l", "d", "?", "lg", "dG", "?G", "G"]
        .iter()
        .map(|keys| {
            let mut state = state();
            keys.chars().for_each(|character| drop(state.handle(key(Char(character)))));
            state
        })
        .collect();
    let mut many = state();
    many.handle(listed(long));
    many.handle(key(Char('G')));
    states.push(many);
    for state in &states {
        for size in [(1, 1), (2, 3), (7, 2), (20, 5), (33, 9), (99, 11), (100, 4), (200, 50), (300, 2)] {
            draw(state, size);
        }
    }
}

#[test]
fn the_selected_worker_of_many_is_on_the_screen() {
    let mut list = list();
    let template = list.apps[0].workers[0].clone();
    list.apps[0].workers =
        (0..300).map(|id| rpm_ipc::WorkerInfo { id: rpm_model::WorkerId(id), ..template.clone() }).collect();
    let mut state = State::default();
    state.handle(listed(list));
    for _ in 0..150 {
        state.handle(key(Down));
    }
    assert!(draw(&state, (80, 24)).lines().any(|line| line.trim_start().starts_with("150 api")));
}
