//! `jlist` and `prettylist`: the list in exactly PM2's shape, which is `rpm-axon`'s to know.

use rpm_axon::process::list_value;
use rpm_ipc::List;

use crate::screens::inspect::inspect;

/// Returns the list as one line of JSON.
pub fn jlist(list: &List) -> String {
    let mut text = list_value(list).to_string();
    text.push('\n');
    text
}

/// Returns the list as Node prints an object.
pub fn prettylist(list: &List) -> String {
    let mut text = inspect(&list_value(list));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::screens::samples::{app, list};

    fn count(text: &str, word: &str) -> usize {
        text.matches(word).count()
    }

    #[test]
    fn watching_is_told_once() {
        let mut api = app(1, "api", "default", &[0]);
        api.spec.watch.enabled = true;
        api.spec.watch.delay = std::time::Duration::from_millis(1500);
        api.spec.cron = Some("0 3 * * *".into());
        let text = prettylist(&list(vec![api.clone()]));
        for told in ["watch: true", "watch_delay: 1500", "cron_restart: '0 3 * * *'"] {
            assert_eq!(count(&text, told), 1, "{told} in\n{text}");
        }
        (api.spec.watch.enabled, api.spec.watch.paths) = (false, vec!["src".into()]);
        assert_eq!(count(&prettylist(&list(vec![api])), "watch: false"), 1, "what it would watch is not told");
    }

    #[test]
    fn words_occur_as_often_as_in_pm2() {
        let mut echo = app(1, "ECHONEST", "default", &[0]);
        echo.spec.script = "/srv/child.js".into();
        echo.spec.logs.merge = true;
        (echo.spec.watch.enabled, echo.spec.watch.paths) = (true, vec!["server".into(), "client".into()]);
        echo.spec.watch.ignore = Some(vec!["node_modules".into(), "client/img".into()]);
        echo.spec.env.insert("PORT".into(), "3000".into());
        echo.spec.increment_var = Some("PORT".into());
        let text = prettylist(&list(vec![echo]));
        for (word, times) in [
            ("online", 1),
            ("restart_time: 0", 1),
            ("fork_mode", 1),
            ("pm_id: 0", 2),
            ("ECHONEST", 7),
            ("name: 'ECHONEST'", 3),
            ("NODE_APP_INSTANCE: 0", 1),
            ("PORT: 3000", 2),
            ("child.js", 1),
            ("node_args: []", 1),
            ("watch: [ 'server', 'client' ]", 1),
            ("ignore_watch: [ 'node_modules', 'client/img' ]", 1),
            ("vizion: true", 1),
            ("km_link: false", 1),
            ("launching", 0),
            ("errored", 0),
        ] {
            assert_eq!(count(&text, word), times, "{word} in\n{text}");
        }
        let path = text.lines().find(|line| line.contains("pm_out_log_path")).unwrap();
        assert!(path.ends_with("-out.log',"), "{path}");
    }

    #[test]
    fn the_numbers_of_instances_grow() {
        let mut api = app(1, "api", "default", &[4, 5]);
        api.spec.env.insert("PORT".into(), "3000".into());
        api.spec.increment_var = Some("PORT".into());
        let value = list_value(&list(vec![api]));
        assert_eq!(value[1]["pm2_env"]["PORT"], 3001);
        assert_eq!(value[1]["pm2_env"]["env"]["PORT"], 3001);
        assert_eq!(value[1]["pm2_env"]["NODE_APP_INSTANCE"], 1);
        assert_eq!(value[1]["pm2_env"]["env"].get("NODE_APP_INSTANCE"), None);
    }

    #[test]
    fn jlist_is_one_line() {
        let text = jlist(&list(vec![app(1, "api", "default", &[1, 0])]));
        assert_eq!(text.lines().count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0]["pm_id"], 0);
        assert_eq!(value[0]["monit"]["memory"], 55_050_240);
        assert_eq!(jlist(&list(Vec::new())), "[]\n");
        assert_eq!(prettylist(&list(Vec::new())), "[]\n");
    }

    #[test]
    fn a_variable_does_not_overwrite_what_the_app_is() {
        let mut api = app(1, "api", "default", &[0]);
        api.spec.env_shell.insert("name".into(), "other".into());
        api.spec.env_shell.insert("status".into(), "broken".into());
        let value = list_value(&list(vec![api]));
        assert_eq!(value[0]["pm2_env"]["name"], "api");
        assert_eq!(value[0]["pm2_env"]["status"], "online");
        assert_eq!(value[0]["pm2_env"]["env"]["name"], "other");
    }
}
