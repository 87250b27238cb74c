//! Plays a scenario on one side and writes down what was seen.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::normal::Normal;
use crate::scenario::{Scenario, Step};
use crate::side::Side;

/// The longest a condition may take; PM2 needs ten seconds for some on two busy cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one step showed; `step` is its text, so that lists of differences stay readable.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Seen {
    pub(crate) step: String,
    pub(crate) saw: Value,
    /// What helps a person who looks at a difference; never compared.
    #[serde(skip)]
    pub(crate) aside: String,
}

/// Plays it.
///
/// # Panics
/// When files cannot be laid out.
pub(crate) fn play(scenario: &Scenario, side: &Side, apps: &Path) -> Vec<Seen> {
    let ports = [rpm_tests::free_port(), rpm_tests::free_port()];
    let fill = |text: &str| {
        let text = text.replace("{port}", &ports[0].to_string()).replace("{port2}", &ports[1].to_string());
        text.replace("{work}", &side.work().to_string_lossy()).replace("{home}", &side.home().to_string_lossy())
    };
    for entry in apps.read_dir().expect("the directory of apps") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), side.work().join(entry.file_name())).expect("a copy");
    }
    for (name, text) in &scenario.files {
        let path = side.work().join(name);
        std::fs::create_dir_all(path.parent().expect("it lies in the directory")).expect("a directory");
        std::fs::write(&path, fill(text)).expect("a file");
        if text.starts_with("#!") {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        }
    }
    let env = scenario.env.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
    let mut player = Player { side, env, normal: Normal::new(side.root(), &ports), seen: Vec::new() };
    for text in &scenario.steps {
        player.step(text, Step::parse(&fill(text)));
    }
    if scenario.ending {
        player.step("jlist", Step::List(Vec::new()));
        player.step("names home/logs", Step::Names("home/logs".into()));
        player.step("names home/pids", Step::Names("home/pids".into()));
    }
    player.seen
}

struct Player<'a> {
    side: &'a Side,
    env: std::collections::BTreeMap<String, String>,
    normal: Normal,
    seen: Vec<Seen>,
}

impl Player<'_> {
    fn step(&mut self, text: &str, step: Step) {
        let side = self.side;
        match step {
            Step::Command(line) => {
                let ended = side.run(&line, &self.env);
                let aside = format!("{}{}", ended.stdout, ended.stderr);
                self.saw(text, json!({ "exit": ended.code }), aside);
            }
            Step::Printing(line) => {
                let ended = side.run(&line, &self.env);
                let lines: Vec<String> = self.normal.text(&ended.stdout).lines().map(str::to_owned).collect();
                self.saw(text, json!({ "exit": ended.code, "out": lines }), ended.stderr);
            }
            Step::Status { name, status, count } => self.wait(text, || {
                let list = side.processes(&name);
                list.len() == count && list.iter().all(|process| process["pm2_env"]["status"] == status.as_str())
            }),
            Step::Restarts { name, least } => self.wait(text, || {
                let list = side.processes(&name);
                list.first().and_then(|p| p["pm2_env"]["restart_time"].as_u64()).is_some_and(|seen| seen >= least)
            }),
            Step::FileHas { path, text: wanted } => {
                let path = side.path(&path);
                self.wait(text, || read(&path).contains(&wanted));
            }
            Step::FileGone { path } => {
                let path = side.path(&path);
                self.wait(text, || !path.exists());
            }
            Step::Lines { path, least } => {
                let path = side.path(&path);
                self.wait(text, || read(&path).lines().count() >= least);
            }
            Step::Show(path) => {
                let path = side.path(&path);
                let lines: Vec<String> = self.normal.text(&read(&path)).split('\n').map(str::to_owned).collect();
                let saw = if path.exists() { json!(lines) } else { Value::Null };
                self.saw(text, saw, String::new());
            }
            Step::Json(path) => {
                let content = read(&side.path(&path));
                let documents = || content.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
                let value = serde_json::from_str(&content).or_else(|_| documents().map(Value::Array));
                let value = value.map(without_races);
                let saw =
                    value.map_or_else(|error| json!(format!("not JSON: {error}")), |value| self.normal.json(&value));
                self.saw(text, saw, String::new());
            }
            Step::List(keys) => {
                let ended = side.run("pm2 jlist", &self.env);
                let list: Value = serde_json::from_str(last_line(&ended.stdout)).unwrap_or(Value::Null);
                let chosen = if keys.is_empty() { without_races(list) } else { choose(&list, &keys) };
                let saw = self.normal.json(&chosen);
                self.saw(text, saw, ended.stderr);
            }
            Step::Counts(words) => {
                let ended = side.run("pm2 prettylist", &self.env);
                let text_normal = self.normal.text(&ended.stdout);
                let counts = words.iter().map(|word| (word.clone(), json!(text_normal.matches(word.as_str()).count())));
                self.saw(text, Value::Object(counts.collect()), ended.stdout);
            }
            Step::Names(path) => {
                let entries = side.path(&path).read_dir().into_iter().flatten().flatten();
                let mut names: Vec<String> =
                    entries.map(|entry| self.normal.text(&entry.file_name().to_string_lossy())).collect();
                // As `ls` shows them: what rpm keeps for itself is hidden.
                names.retain(|name| !name.starts_with('.'));
                names.sort();
                self.saw(text, json!(names), String::new());
            }
        }
    }

    /// Waits; only a wait in vain is written down.
    fn wait(&mut self, text: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > deadline {
                self.saw(text, json!("in vain"), String::new());
                return;
            }
            std::thread::park_timeout(Duration::from_millis(25));
        }
    }

    fn saw(&mut self, step: &str, saw: Value, aside: String) {
        let before = self.seen.iter().filter(|seen| seen.step.split(" #").next() == Some(step)).count();
        let step = if before == 0 { step.to_owned() } else { format!("{step} #{}", before + 1) };
        self.seen.push(Seen { step, saw, aside });
    }
}

/// What PM2's whole list has or has not depending on the moment: the metrics of the app, and how soon it was stopped.
const RACY: &[&str] =
    &["axm_actions", "axm_monitor", "axm_options", "axm_dynamic", "node_version", "_tree_pids", "unstable_restarts"];

fn without_races(mut list: Value) -> Value {
    for process in list.as_array_mut().into_iter().flatten() {
        let name = process["name"].as_str().unwrap_or_default().to_owned();
        // In the list a process is under `pm2_env`, in the dump it is that object.
        let process = if process["pm2_env"].is_object() { &mut process["pm2_env"] } else { process };
        if let Some(env) = process.as_object_mut() {
            // An empty object under the app's own name: once as an object, once as text; `counts` looks at the name.
            let is_mark = |key: &str, value: &Value| key == name && (value == "{}" || *value == json!({}));
            env.retain(|key, value| !RACY.contains(&key.as_str()) && !is_mark(key, value));
            if let Some(env) = env.get_mut("env").and_then(Value::as_object_mut) {
                env.retain(|key, value| !is_mark(key, value));
            }
        }
    }
    list
}

/// Returns the wanted keys of each process, from the top or from `pm2_env`.
fn choose(list: &Value, keys: &[String]) -> Value {
    let chosen = |process: &Value| {
        let value = |key: &String| match process.get(key).or_else(|| process["pm2_env"].get(key)) {
            Some(value) => value.clone(),
            None => json!("<absent>"),
        };
        Value::Object(keys.iter().map(|key| (key.clone(), value(key))).collect())
    };
    list.as_array().map_or(Value::Null, |list| list.iter().map(chosen).collect())
}

/// PM2 prints that it starts a daemon before what was asked for.
fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or_default()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
