//! A unit of systemd.
//!
//! `resurrect` returns when the apps are up and leaves the keeper behind, which is the parent of everything: systemd's
//! word for that is `Type=forking`, and the keeper's pid file names the main process. It is not `notify`: who would
//! notify, `resurrect`, is gone by then.
//!
//! When the keeper is killed, the daemon and the workers go on, so the unit leaves them alone (`KillMode=process`) and runs
//! `resurrect` again (`Restart`), which finds everything there and names the new keeper. When a worker is killed because
//! memory ran out, that is the worker's end and not the unit's (`OOMPolicy`). Limits of workers need a part of the control
//! groups (`Delegate`).

use super::{Recipe, Service, words};

pub(super) fn recipe(service: &Service) -> Recipe {
    let unit = format!("{}.service", service.name);
    Recipe {
        file: format!("/etc/systemd/system/{unit}").into(),
        text: text(service),
        mode: 0o644,
        enable: vec![words("systemctl daemon-reload"), words(&format!("systemctl enable {unit}"))],
        disable: vec![words(&format!("systemctl disable {unit}")), words("systemctl daemon-reload")],
    }
}

fn text(service: &Service) -> String {
    let Service { program, home_variable, home, user, path, user_home, .. } = service;
    let (program, home, user_home) = (program.display(), home.display(), user_home.display());
    let network = if service.wait_ip {
        "Wants=network-online.target\nAfter=network-online.target\n"
    } else {
        "After=network.target\n"
    };
    let exec = quoted(&program.to_string());
    let environment = |name: &str, value: &str| format!("Environment={}\n", quoted(&format!("{name}={value}")));
    let mut text = format!("[Unit]\nDescription=Apps of {user}, kept up by rpm\n{network}\n[Service]\nType=forking\n");
    text.push_str(&format!("User={user}\nPIDFile={home}/keeper.pid\n"));
    text.push_str(&environment("HOME", &user_home.to_string()));
    text.push_str(&environment("PATH", path));
    text.push_str(&environment(home_variable, &home.to_string()));
    text.push_str(&format!("ExecStart={exec} resurrect\nExecReload={exec} reload all\nExecStop={exec} kill\n"));
    // The apps' own limits are theirs to set; ours is only not to be in the way.
    text.push_str("LimitNOFILE=infinity\nLimitNPROC=infinity\nLimitCORE=infinity\nRestart=on-failure\n");
    // Apps are stopped by ExecStop, each with its own grace and in order.
    text.push_str("KillMode=process\nOOMPolicy=continue\nDelegate=yes\nTimeoutStartSec=300\nTimeoutStopSec=300\n");
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
}

/// Quotes as systemd does; `%` begins one of its own variables.
fn quoted(text: &str) -> String {
    let text = text.replace('%', "%%");
    let is_plain = |c: char| !c.is_whitespace() && !"\"'\\$".contains(c);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "$$"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::boot::sample;

    #[test]
    fn odd_paths_are_quoted() {
        let mut service = sample();
        service.path = "/a b:/c%d".into();
        let text = text(&service);
        assert!(text.contains("Environment=\"PATH=/a b:/c%%d\"\n"), "{text}");
        assert!(text.contains("\nPIDFile=/home/me/.rpm/keeper.pid\n"), "{text}");
        assert!(!text.contains("network-online"));
        service.wait_ip = true;
        assert!(super::text(&service).contains("Wants=network-online.target"));
    }

    /// systemd itself reads the unit, where it is installed.
    #[test]
    fn systemd_finds_no_fault() {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let unit = directory.path().join("rpm-me.service");
        let mut service = sample();
        // It looks whether the program and the user are there.
        (service.program, service.user) = ("/bin/true".into(), "root".into());
        std::fs::write(&unit, text(&service)).unwrap();
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<_> = said.lines().filter(|line| line.contains("rpm-me")).collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
}
