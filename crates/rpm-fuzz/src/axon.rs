//! What PM2's clients send.

use rpm_axon::{Argument, Call, Message};
use rpm_model::{AppSpec, Environment};
use serde_json::Value;

/// Reads messages until they end, and the apps that they ask for.
pub fn axon(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some((message, length))) = Message::read(rest) {
        assert_eq!(Message::read(&rest[..length - 1]), Ok(None), "the end is waited for");
        rest = &rest[length..];
        let again = message.bytes().expect("what was read can be written");
        let (second, whole) = Message::read(&again).expect("what was written can be read").expect("all of it");
        assert_eq!((second.0.len(), whole), (message.0.len(), again.len()));
        for value in message
            .0
            .iter()
            .filter_map(|argument| if let Argument::Json(value) = argument { Some(value) } else { None })
        {
            app(value);
        }
        if let Ok(call) = Call::read(message) {
            call.args.iter().for_each(app);
        }
    }
}

fn app(value: &Value) {
    let Value::Object(app) = value else { return };
    let surroundings = Environment::new();
    if let Ok(spec) = rpm_axon::app::spec(app, &surroundings) {
        let written = serde_json::to_vec(&spec).expect("a spec can be written");
        serde_json::from_slice::<AppSpec>(&written).expect("what was written can be read");
        let _ = rpm_axon::app::change(&spec, app, &surroundings);
    }
}
