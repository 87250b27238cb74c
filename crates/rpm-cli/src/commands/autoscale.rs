//! `autoscale`: how the number of workers follows the load; on and off.

use rpm_ipc::{AppInfo, Request};
use serde_json::{Value, json};

use crate::acting;
use crate::args::{Autoscale, Switch};
use crate::commands::{Invocation, scale};
use crate::report::Failure;
use crate::screens;

pub(super) fn run(args: &Autoscale, invocation: &Invocation) -> Result<(), Failure> {
    let mut session = invocation.session()?;
    let mut list = session.list(false)?;
    let named = args.app.as_deref().map(|word| scale::find(word, &list)).transpose()?.map(|app| app.id);
    if let (Some(app), Some(switch)) = (named, args.switch) {
        let request = Request::Autoscale { app, on: switch == Switch::On };
        acting::act(&mut session, invocation, "autoscale", request)?;
        list = session.list(false)?;
    }
    let meant = |app: &&AppInfo| match named {
        Some(named) => app.id == named,
        None => app.autoscale.is_some(),
    };
    let apps: Vec<&AppInfo> = list.apps.iter().filter(meant).collect();
    if let [app] = apps[..]
        && app.autoscale.is_none()
    {
        let hint = "docs/autoscale.md tells what it takes: for example `autoscale: { min: 2, max: 8, cpu: 70 }`";
        return Err(Failure::new(format!("{} has no `autoscale` in its settings", app.spec.name)).hint(hint));
    }
    if args.json {
        let all: Value = apps.iter().map(|app| document(app)).collect();
        invocation.voice.data(&format!("{all:#}\n"));
    } else if apps.is_empty() {
        invocation.voice.say("No app has `autoscale` in its settings");
    } else {
        let now_ms = acting::now_ms();
        let text: String = apps.iter().map(|app| screens::autoscale::page(app, now_ms)).collect();
        invocation.voice.show(&text);
    }
    Ok(())
}

fn document(app: &AppInfo) -> Value {
    json!({ "app": app.spec.name, "workers": app.workers.len(), "policy": app.spec.autoscale, "state": app.autoscale })
}
