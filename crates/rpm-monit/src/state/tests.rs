use super::*;
use crate::event::Logged;
use crate::fixture::{NOW_MS, happened, key, list, listed, many};
use crossterm::event::KeyCode::{Backspace, Char, Down, Enter, Esc, Left, Right, Tab, Up};
use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use rpm_ipc::{Failed, FailureInfo, Reply, Request};
use rpm_model::{AppId, Status};

const API: Key = Key::App(AppId(0));
const FIRST: Key = Key::Worker(AppId(0), WorkerId(0));
const SECOND: Key = Key::Worker(AppId(0), WorkerId(1));
const MAILER: Key = Key::App(AppId(1));
const LAST: Key = Key::App(AppId(2));

fn state() -> State {
    let mut state = State::default();
    state.handle(Event::Resized { width: 80, height: 24 });
    state.handle(listed(list()));
    state
}

fn press(state: &mut State, keys: &str) -> Vec<Action> {
    keys.chars()
        .flat_map(|character| match character {
            '\n' => state.handle(key(Enter)),
            '\t' => state.handle(key(Tab)),
            other => state.handle(key(Char(other))),
        })
        .filter(|action| !matches!(action, Action::Follow { .. }))
        .collect()
}

fn said(state: &State) -> &str {
    match state.message.as_ref().expect("a message stands in the status line") {
        Ok(text) | Err(text) => text,
    }
}

fn keys_of(state: &State) -> Vec<Key> {
    state.rows.iter().map(|row| row.key).collect()
}

fn mouse(kind: MouseEventKind, column: u16, row: u16) -> Event {
    Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
}

#[test]
fn apps_with_several_workers_show_them_and_the_arrows_stop_at_the_ends() {
    let mut state = state();
    assert_eq!(keys_of(&state), [API, FIRST, SECOND, MAILER, LAST]);
    assert_eq!(state.selected, Some(API));
    state.handle(key(Up));
    assert_eq!(state.selected, Some(API));
    for _ in 0..9 {
        state.handle(key(Down));
    }
    assert_eq!(state.selected, Some(LAST));
    press(&mut state, "k");
    assert_eq!(state.selected, Some(MAILER));
    press(&mut state, "g");
    assert_eq!(state.selected, Some(API));
    press(&mut state, "G");
    assert_eq!(state.selected, Some(LAST));
}

#[test]
fn workers_are_folded_away_and_shown_again() {
    let mut state = state();
    state.handle(key(Down));
    state.handle(key(Left));
    assert_eq!(state.selected, Some(API));
    state.handle(key(Left));
    assert_eq!(keys_of(&state), [API, MAILER, LAST]);
    state.handle(key(Right));
    assert_eq!(keys_of(&state), [API, FIRST, SECOND, MAILER, LAST]);
    press(&mut state, "j ");
    assert_eq!((state.selected, state.rows.len()), (Some(API), 3));
    press(&mut state, "x");
    assert_eq!(state.rows.len(), 5);
    state.handle(listed(many(9)));
    assert_eq!(state.rows.len(), 10, "the user has unfolded it");
    let mut fresh = State::default();
    fresh.handle(listed(many(9)));
    assert_eq!(fresh.rows.len(), 1, "many begin folded");
}

#[test]
fn the_selection_stays_and_moves_to_the_app_or_the_neighbour_when_its_row_is_gone() {
    let mut state = state();
    press(&mut state, "jj");
    assert_eq!(state.selected, Some(SECOND));
    let mut shorter = list();
    shorter.apps[0].workers.pop();
    state.handle(listed(shorter.clone()));
    assert_eq!(state.selected, Some(API));
    press(&mut state, "j");
    assert_eq!(state.selected, Some(MAILER));
    shorter.apps.remove(1);
    state.handle(listed(shorter));
    assert_eq!(state.selected, Some(LAST));
    let mut empty = list();
    empty.apps.clear();
    state.handle(listed(empty));
    assert_eq!(state.selected, None);
    for keys in ["r", "R", "s", "+", "-", "D", "d", "l", "e", " ", "n", "o"] {
        assert_eq!(press(&mut state, keys), []);
    }
    press(&mut state, "r");
    assert_eq!(said(&state), "nothing is selected");
}

#[test]
fn a_reload_is_asked_for_at_once_and_a_restart_only_after_yes() {
    let mut state = state();
    press(&mut state, "j");
    let reload = Request::Reload { workers: vec![WorkerId(0)], specs: vec![], force: false };
    assert_eq!(press(&mut state, "r"), [Action::Ask(reload.into())]);
    assert_eq!(state.busy.as_ref().unwrap().deed, "reload api (worker 0)");
    state.handle(Event::Acted(Ok(Reply::Done { workers: vec![WorkerId(0)] })));
    assert_eq!(said(&state), "reload api (worker 0): done (1 worker)");

    assert_eq!(press(&mut state, "R"), []);
    assert_eq!(press(&mut state, "n"), []);
    assert_eq!(said(&state), "nothing was done");
    let restart = Request::Restart { workers: vec![WorkerId(0)], specs: vec![] };
    assert_eq!(press(&mut state, "Ry"), [Action::Ask(restart.into())]);
}

#[test]
fn an_app_is_acted_on_whole() {
    let mut state = state();
    let workers = vec![WorkerId(0), WorkerId(1)];
    assert_eq!(press(&mut state, "sy"), [Action::Ask(Request::Stop { workers: workers.clone() }.into())]);
    state.handle(Event::Acted(Ok(Reply::Done { workers: workers.clone() })));
    assert_eq!(press(&mut state, "D"), []);
    assert!(
        matches!(&state.prompt, Prompt::Confirm(wish) if wish.cost.as_deref() == Some("2 workers forgotten, 2 of them running"))
    );
    assert_eq!(press(&mut state, "y"), [Action::Ask(Request::Delete { workers }.into())]);
}

#[test]
fn what_is_down_is_started_and_scaling_stays_above_nothing() {
    let mut state = state();
    press(&mut state, "G");
    let start = Request::Restart { workers: vec![WorkerId(3)], specs: vec![] };
    assert_eq!(press(&mut state, "s"), [Action::Ask(start.into())]);
    state.handle(Event::Acted(Ok(Reply::Done { workers: vec![] })));
    assert_eq!(press(&mut state, "-"), []);
    assert!(said(&state).contains("keeps at least one worker"));
    assert_eq!(press(&mut state, "+"), [Action::Ask(Request::Scale { app: AppId(2), instances: 2 }.into())]);
}

#[test]
fn one_thing_at_a_time_and_a_failure_is_told() {
    let mut state = state();
    press(&mut state, "r");
    assert_eq!(press(&mut state, "r"), []);
    assert_eq!(said(&state), "one thing at a time: still at `reload api`");
    let failure =
        FailureInfo { worker: WorkerId(1), app: "api".into(), message: "was not \x1b[2Jready".into(), stderr: vec![] };
    state.handle(Event::Acted(Ok(Reply::Failed(Failed { failures: vec![failure], undone: true }))));
    assert_eq!(said(&state), "could not reload api: worker 1 was not \\x1b[2Jready; everything is as it was");
}

#[test]
fn a_read_only_dashboard_does_nothing() {
    let mut state = state();
    state.read_only = true;
    for keys in ["r", "Ry", "sy", "+", "Dy", ":restart all\ny", ":save\n"] {
        assert_eq!(press(&mut state, keys), [], "{keys}");
    }
    assert_eq!(said(&state), "this dashboard is read-only");
}

#[test]
fn a_line_is_typed_completed_and_remembered() {
    let mut state = state();
    let request = Request::Scale { app: AppId(0), instances: 4 };
    assert_eq!(press(&mut state, ":sca\tap\t4\n"), [Action::Ask(request.into())]);
    state.handle(Event::Acted(Ok(Reply::Done { workers: vec![] })));
    press(&mut state, ":restrat\n");
    assert_eq!(said(&state), "no command is called restrat; is it restart?");
    press(&mut state, ":");
    state.handle(key(Up));
    state.handle(key(Up));
    assert!(matches!(&state.prompt, Prompt::Line { text, .. } if text == "scale api 4"));
    state.handle(key(Down));
    assert!(matches!(&state.prompt, Prompt::Line { text, .. } if text == "restrat"));
    state.handle(key(Esc));
    assert_eq!(state.prompt, Prompt::Nothing);
    press(&mut state, ":");
    state.handle(key(Backspace));
    assert_eq!(state.prompt, Prompt::Nothing);
    // What hurts is asked for here, too.
    assert_eq!(press(&mut state, ":stop all\n"), []);
    assert!(matches!(&state.prompt, Prompt::Confirm(wish) if wish.deed == "stop all"));
    assert_eq!(press(&mut state, "x:logs 1\n"), []);
    assert_eq!((state.view, state.selected), (View::Full(Pane::Log), Some(SECOND)));
}

#[test]
fn a_filter_narrows_while_it_is_typed_and_escape_clears_it() {
    let mut state = state();
    press(&mut state, "/errored");
    assert_eq!(keys_of(&state), [MAILER]);
    assert_eq!(state.selected, Some(MAILER));
    press(&mut state, "\n");
    assert_eq!(state.filter.text(), "errored");
    state.handle(key(Esc));
    assert_eq!(state.rows.len(), 5);
    press(&mut state, "/memory>100M\n");
    assert_eq!(keys_of(&state), [API, SECOND], "which of its workers is seen");
    press(&mut state, ":filter\n");
    assert!(state.filter.is_empty());
    assert_eq!(press(&mut state, "q"), [Action::Quit]);
}

#[test]
fn the_table_is_sorted_both_ways() {
    let mut state = state();
    press(&mut state, ":sort cpu\n");
    assert_eq!(keys_of(&state)[..3], [API, SECOND, FIRST]);
    press(&mut state, "O");
    assert_eq!(keys_of(&state)[..2], [MAILER, LAST]);
    press(&mut state, ":sort status\n");
    assert_eq!(keys_of(&state)[0], MAILER, "what needs attention comes first");
}

#[test]
fn the_log_follows_the_selection_and_late_lines_of_another_are_dropped() {
    let mut state = State::default();
    let actions = state.handle(listed(list()));
    let [Action::Follow { following, files }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(files.iter().map(|file| file.worker.0).collect::<Vec<_>>(), [0, 0, 1, 1]);
    let line = |text: &str| crate::event::LogLine { worker: WorkerId(0), stream: Stream::Out, text: text.into() };
    let first = *following;
    state.handle(Event::Logged(Logged { following: first, lines: vec![line("one")] }));
    assert_eq!(state.logs.shown().count(), 1);
    let actions = state.handle(key(Char('G')));
    assert!(matches!(actions.as_slice(), [Action::Follow { files, .. }] if files.len() == 2));
    state.handle(Event::Logged(Logged { following: first, lines: vec![line("late")] }));
    assert_eq!(state.logs.shown().count(), 0);
    // Nothing is followed anew as long as nothing has changed.
    assert_eq!(state.handle(listed(list())), []);
    let mut huge = State::default();
    huge.handle(listed(many(500)));
    assert_eq!(huge.following.len(), FILES_MAX);
}

#[test]
fn the_mouse_selects_sorts_scrolls_and_changes_the_pane() {
    let mut state = state();
    let click = |column, row| mouse(MouseEventKind::Down(MouseButton::Left), column, row);
    state.handle(click(5, 3));
    assert_eq!(state.selected, Some(FIRST));
    state.handle(click(5, 2));
    state.handle(click(5, 2));
    assert_eq!(keys_of(&state), [API, MAILER, LAST], "a second click folds");
    state.handle(mouse(MouseEventKind::ScrollDown, 5, 3));
    assert_eq!(state.selected, Some(MAILER));
    state.handle(click(5, 1));
    assert_eq!(state.order.by, rows::By::Name);
    state.handle(click(5, 1));
    assert!(state.order.reversed);
    let lower = layout(&state, state.area()).lower;
    let events = (0..80).find(|x| crate::draw::tab_at(lower, *x) == Some(Pane::Events)).unwrap();
    state.handle(click(events, lower.y));
    assert_eq!(state.pane, Pane::Events);
    // A question is not answered by a click.
    state.selected = Some(API);
    press(&mut state, "R");
    state.handle(click(5, 3));
    assert!(matches!(state.prompt, Prompt::Confirm(_)));
}

#[test]
fn every_row_can_be_reached_and_stays_in_sight_when_the_terminal_shrinks() {
    let mut state = State::default();
    state.handle(Event::Resized { width: 80, height: 40 });
    state.handle(listed(many(500)));
    press(&mut state, " ");
    let visible = |state: &State| {
        let height = usize::from(layout(state, state.area()).table.height).saturating_sub(1).max(1);
        (state.top..state.top + height).contains(&state.place().unwrap())
    };
    for _ in 0..200 {
        state.handle(key(Down));
        assert!(visible(&state));
    }
    for height in [20, 6, 3, 1, 0, 50] {
        state.handle(Event::Resized { width: 80, height });
        assert!(visible(&state), "at {height}");
    }
    press(&mut state, "G");
    assert!(visible(&state));
    state.handle(listed(many(3)));
    assert!(visible(&state));
}

#[test]
fn events_are_bounded_and_a_daemon_that_is_away_leaves_what_was_known() {
    let mut state = state();
    for _ in 0..2 * EVENTS_KEPT {
        assert!(state.handle(happened("api", "exit", None)).contains(&Action::Refresh));
    }
    assert_eq!(state.events.len(), EVENTS_KEPT);
    state.handle(Event::Listed { at_ms: NOW_MS, result: Err("gone".into()) });
    assert_eq!((state.rows.len(), state.source_error.as_deref()), (5, Some("gone")));
    state.handle(listed(list()));
    assert_eq!(state.source_error, None);
}

#[test]
fn pasted_text_is_typed_and_never_a_row_of_commands() {
    let mut state = state();
    assert_eq!(state.handle(Event::Pasted("Dyq".into())), []);
    assert_eq!(state.prompt, Prompt::Nothing);
    press(&mut state, "/");
    state.handle(Event::Pasted("err\x1bored\nq".into()));
    assert_eq!(state.filter.text(), "errored");
}

#[test]
fn a_status_of_every_kind_can_be_acted_on() {
    for status in
        [Status::Launching, Status::Online, Status::Stopping, Status::Stopped, Status::Errored, Status::WaitingRestart]
    {
        let mut list = list();
        list.apps[1].workers[0].status = status;
        let mut state = state();
        state.handle(listed(list));
        state.selected = Some(MAILER);
        let asked = press(&mut state, "sy");
        assert!(matches!(asked.as_slice(), [Action::Ask(_)]), "{status}: {asked:?}");
    }
}

/// The command line was not opened, and what was typed into it were commands.
#[test]
fn escape_and_a_key_that_come_at_once_are_two_keys() {
    let mut state = state();
    press(&mut state, "?");
    assert_eq!(state.view, View::Help);
    state.handle(Event::Key(KeyEvent::new(Char(':'), KeyModifiers::ALT)));
    assert_eq!(state.view, View::Main);
    assert!(matches!(state.prompt, Prompt::Line { .. }));
}
