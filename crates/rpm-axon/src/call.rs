//! Remote calls, and what is published.
//!
//! A call is `[{"type": "call", "method": M, "args": […]}, id]`, its answer `[{"args": […]}, id]` or
//! `[{"error": sentence, "stack": …}, id]`. The id is the caller's and comes back as it was.

use serde_json::{Value, json};

use crate::frame::{Argument, Message};

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Which method.
    pub method: String,
    /// Its arguments.
    pub args: Vec<Value>,
    /// What the answer is to carry.
    pub id: Argument,
}

/// Why a message is no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a call has the form [{{type: \"call\", method, args}}, id]")]
pub struct NoCall;

impl Call {
    /// Reads a call.
    ///
    /// # Errors
    /// When the message is something else.
    pub fn read(message: Message) -> Result<Self, NoCall> {
        let Ok([Argument::Json(mut call), id]) = <[Argument; 2]>::try_from(message.0) else { return Err(NoCall) };
        if call["type"] != "call" {
            return Err(NoCall);
        }
        let (Value::String(method), args) = (call["method"].take(), call["args"].take()) else { return Err(NoCall) };
        let args = match args {
            Value::Array(args) => args,
            Value::Null => Vec::new(),
            _ => return Err(NoCall),
        };
        Ok(Self { method, args, id })
    }

    /// Takes an argument, `null` where there is none.
    pub fn take(&mut self, number: usize) -> Value {
        self.args.get_mut(number).map(Value::take).unwrap_or_default()
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// With this value.
    Value(Value),
    /// Without a value.
    Nothing,
    /// Not at all: a sentence.
    Error(String),
}

impl Answer {
    /// Returns the answer to the call with this id.
    pub fn message(self, id: Argument) -> Message {
        let answer = match self {
            Answer::Value(value) => json!({ "args": [value] }),
            Answer::Nothing => json!({ "args": [] }),
            Answer::Error(error) => json!({ "stack": format!("Error: {error}"), "error": error }),
        };
        Message(vec![Argument::Json(answer), id])
    }
}

/// Returns what subscribers get: a topic and what is said.
pub fn publication(topic: &str, payload: Value) -> Message {
    Message(vec![Argument::Text(topic.to_owned()), Argument::Json(payload)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(call: Value) -> Message {
        Message(vec![Argument::Json(call), Argument::Text("7:1".into())])
    }

    #[test]
    fn a_call_has_a_method_and_arguments() {
        let mut call = Call::read(message(json!({"type": "call", "method": "ping", "args": [{}]}))).unwrap();
        assert_eq!((call.method.as_str(), &call.id), ("ping", &Argument::Text("7:1".into())));
        assert_eq!((call.take(0), call.take(1)), (json!({}), Value::Null));
    }

    #[test]
    fn anything_else_is_no_call() {
        for other in [json!({}), json!([1]), json!(null), json!({"type": "methods"}), json!({"type": "call"})] {
            assert_eq!(Call::read(message(other.clone())), Err(NoCall), "{other}");
        }
        let args = json!({"type": "call", "method": "ping", "args": 1});
        assert_eq!(Call::read(message(args)), Err(NoCall));
        assert_eq!(Call::read(Message(vec![Argument::Json(json!({"type": "call", "method": "ping"}))])), Err(NoCall));
    }

    #[test]
    fn answers_carry_the_callers_id() {
        let answer = Answer::Error("no".into()).message(Argument::Text("7:1".into()));
        assert_eq!(answer.0[0], Argument::Json(json!({"error": "no", "stack": "Error: no"})));
        assert_eq!(answer.0[1], Argument::Text("7:1".into()));
    }
}
