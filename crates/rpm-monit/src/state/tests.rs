use super::*;
use crate::fixture::{key, list, listed};
use crossterm::event::KeyCode::{Backspace, Char, Down, Enter, Esc, Up};
use crossterm::event::KeyModifiers;
use rpm_ipc::{Failed, FailureInfo, Reply, Request};
use rpm_model::{AppId, Status};

fn state() -> State {
    let mut state = State::default();
    assert_eq!(state.handle(listed(list())), Some(Action::ReadLogs));
    state
}

fn press(state: &mut State, keys: &str) -> Option<Action> {
    keys.chars().map(|character| state.handle(key(Char(character)))).last().flatten()
}

fn line(text: &str) -> LogLine {
    LogLine { stream: Stream::Out, text: text.into() }
}

fn said(state: &State) -> &str {
    match state.message.as_ref().expect("a message stands in the status line") {
        Ok(text) | Err(text) => text,
    }
}

#[test]
fn the_first_worker_is_selected_and_the_arrows_stop_at_the_ends() {
    let mut state = state();
    assert_eq!(state.selected, Some(WorkerId(0)));
    state.handle(key(Up));
    assert_eq!(state.selected, Some(WorkerId(0)));
    for _ in 0..9 {
        assert_eq!(state.handle(key(Down)), Some(Action::ReadLogs));
    }
    assert_eq!(state.selected, Some(WorkerId(3)));
    press(&mut state, "k");
    assert_eq!(state.selected, Some(WorkerId(2)));
    press(&mut state, "g");
    assert_eq!(state.selected, Some(WorkerId(0)));
    press(&mut state, "G");
    assert_eq!(state.selected, Some(WorkerId(3)));
}

#[test]
fn the_selection_stays_with_its_worker_and_moves_to_the_neighbour_when_that_is_gone() {
    let mut state = state();
    press(&mut state, "jj");
    let mut shorter = list();
    shorter.apps[0].workers.pop();
    state.handle(listed(shorter.clone()));
    assert_eq!(state.selected, Some(WorkerId(2)));
    shorter.apps.remove(1);
    state.handle(listed(shorter));
    assert_eq!(state.selected, Some(WorkerId(3)));
    let mut empty = list();
    empty.apps.clear();
    state.handle(listed(empty));
    assert_eq!(state.selected, None);
    assert_eq!(press(&mut state, "r"), None);
    assert_eq!(said(&state), "no worker is selected");
}

#[test]
fn a_reload_is_asked_for_at_once_and_a_restart_only_after_yes() {
    let mut state = state();
    let reload = Request::Reload { workers: vec![WorkerId(0)], specs: vec![], force: false };
    assert_eq!(press(&mut state, "r"), Some(Action::Ask(reload)));
    assert_eq!(state.busy.as_deref(), Some("reload api (worker 0)"));
    state.handle(Event::Acted(Ok(Reply::Done { workers: vec![WorkerId(0)] })));
    assert_eq!(said(&state), "reload api (worker 0): done (1 worker)");

    assert_eq!(press(&mut state, "R"), None);
    assert_eq!(press(&mut state, "n"), None);
    assert_eq!(said(&state), "nothing was done");
    let restart = Request::Restart { workers: vec![WorkerId(0)], specs: vec![] };
    assert_eq!(press(&mut state, "Ry"), Some(Action::Ask(restart)));
}

#[test]
fn the_scope_widens_a_deed_to_the_whole_app() {
    let mut state = state();
    let stop = Request::Stop { workers: vec![WorkerId(0), WorkerId(1)] };
    assert_eq!(press(&mut state, "asy"), Some(Action::Ask(stop)));
    assert_eq!(state.busy.as_deref(), Some("stop api"));
}

#[test]
fn s_starts_what_is_down_without_a_question() {
    let mut state = state();
    let start = Request::Restart { workers: vec![WorkerId(2)], specs: vec![] };
    assert_eq!(press(&mut state, "jjs"), Some(Action::Ask(start)));
}

#[test]
fn starting_a_whole_app_leaves_alone_what_is_up() {
    let mut state = State::default();
    let mut list = list();
    list.apps[0].workers[0].status = Status::Stopped;
    state.handle(listed(list));
    let start = Request::Restart { workers: vec![WorkerId(0)], specs: vec![] };
    assert_eq!(press(&mut state, "as"), Some(Action::Ask(start)));
}

#[test]
fn scaling_counts_from_the_list_and_never_to_zero() {
    let mut state = state();
    assert_eq!(press(&mut state, "+"), Some(Action::Ask(Request::Scale { app: AppId(0), instances: 3 })));
    state.handle(Event::Acted(Ok(Reply::Done { workers: vec![] })));
    assert_eq!(press(&mut state, "-"), None);
    assert_eq!(press(&mut state, "y"), Some(Action::Ask(Request::Scale { app: AppId(0), instances: 1 })));
    state.handle(Event::Acted(Ok(Reply::Done { workers: vec![] })));
    assert_eq!(press(&mut state, "jj-"), None);
    assert_eq!(state.prompt, Prompt::Nothing);
    assert!(said(&state).contains("has only this worker"));
}

#[test]
fn one_deed_at_a_time() {
    let mut state = state();
    press(&mut state, "r");
    assert_eq!(press(&mut state, "R"), None);
    assert_eq!(said(&state), "one thing at a time: still at `reload api (worker 0)`");
    // A question that stood open while another deed began cannot happen, and would be refused.
    assert_eq!(state.prompt, Prompt::Nothing);
    assert_eq!(state.handle(Event::Acted(Err("the daemon is gone".into()))), Some(Action::Refresh));
    assert_eq!(said(&state), "could not reload api (worker 0): the daemon is gone");
}

#[test]
fn a_failure_names_the_worker_and_what_was_undone() {
    let mut state = state();
    press(&mut state, "r");
    let failure = FailureInfo {
        worker: WorkerId(1),
        app: "api".into(),
        message: "was not ready within 3 s".into(),
        stderr: vec![],
    };
    state.handle(Event::Acted(Ok(Reply::Failed(Failed { failures: vec![failure], undone: true }))));
    let text = "could not reload api (worker 0): worker 1 was not ready within 3 s; everything is as it was";
    assert_eq!(state.message, Some(Err(text.into())));
}

#[test]
fn the_filter_is_typed_kept_and_cleared() {
    let mut state = state();
    // Letters that are commands are text while the filter is typed.
    assert_eq!(press(&mut state, "/MAILq"), Some(Action::ReadLogs));
    assert_eq!((state.rows().count(), state.selected), (0, None));
    state.handle(key(Backspace));
    assert_eq!((state.rows().count(), state.selected), (1, Some(WorkerId(2))));
    state.handle(key(Enter));
    assert_eq!((&*state.filter, &state.prompt), ("MAIL", &Prompt::Nothing));
    assert_eq!(state.handle(key(Esc)), Some(Action::ReadLogs));
    assert_eq!(state.rows().count(), 4);
    press(&mut state, "/stopped");
    assert_eq!(state.rows().count(), 1);
    state.handle(key(Esc));
    assert_eq!((state.rows().count(), &*state.filter), (4, ""));
    assert_eq!(state.handle(key(Esc)), Some(Action::Quit));
}

#[test]
fn ctrl_c_leaves_from_everywhere() {
    for keys in ["", "R", "/", "l", "?"] {
        let mut state = state();
        press(&mut state, keys);
        let interrupt = Event::Key(KeyEvent::new(Char('c'), KeyModifiers::CONTROL));
        assert_eq!(state.handle(interrupt), Some(Action::Quit), "after {keys:?}");
    }
}

#[test]
fn a_source_that_fails_leaves_the_last_list_on_the_screen() {
    let mut state = state();
    state.handle(Event::Listed { at_ms: 1, result: Err("the daemon is gone".into()) });
    assert_eq!(state.source_error.as_deref(), Some("the daemon is gone"));
    assert_eq!(state.rows().count(), 4);
    state.handle(listed(list()));
    assert_eq!(state.source_error, None);
}

#[test]
fn the_log_keeps_its_place_when_lines_arrive_and_is_bounded() {
    let mut state = state();
    state.handle(Event::Logged(Logged::Anew((0..50).map(|n| line(&n.to_string())).collect())));
    press(&mut state, "lkkk");
    assert_eq!(state.scroll, 3);
    state.handle(Event::Logged(Logged::More(vec![line("a"), line("b")])));
    assert_eq!(state.scroll, 5);
    press(&mut state, "G");
    assert_eq!(state.scroll, 0);
    state.handle(Event::Logged(Logged::More((0..3000).map(|n| line(&n.to_string())).collect())));
    assert_eq!(state.lines.len(), LINES_KEPT);
    press(&mut state, "g");
    assert_eq!(state.scroll, LINES_KEPT);
    state.handle(key(Esc));
    assert_eq!((state.view, state.scroll), (View::Main, 0));
}

#[test]
fn one_file_for_both_streams_is_read_once() {
    let mut state = State::default();
    let mut list = list();
    list.apps[0].workers[0].err_log = list.apps[0].workers[0].out_log.clone();
    state.handle(listed(list));
    assert_eq!(state.log_files(), [(Stream::Out, PathBuf::from("/var/log/rpm/out-0.log"))]);
}
