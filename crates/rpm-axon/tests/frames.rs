//! Whatever is written reads back, however it is cut; whatever is not a message is refused, never believed.

use proptest::prelude::*;
use rpm_axon::{Argument, Call, Message};
use serde_json::{Value, json};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

fn argument() -> impl Strategy<Value = Argument> {
    prop_oneof![
        value().prop_map(Argument::Json),
        ".{0,40}".prop_map(Argument::Text),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_filter("a blob does not look like text", |blob| !blob.starts_with(b"j:") && !blob.starts_with(b"s:"))
            .prop_map(Argument::Blob),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop::collection::vec(argument(), 0..=15).prop_map(Message)
}

proptest! {
    #[test]
    fn what_is_written_reads_back(message in message(), rest in prop::collection::vec(any::<u8>(), 0..20)) {
        let bytes = message.bytes().unwrap();
        let mut stream = bytes.clone();
        stream.extend(rest);
        prop_assert_eq!(Message::read(&stream), Ok(Some((message, bytes.len()))));
    }

    #[test]
    fn a_message_cut_short_is_waited_for(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = message.bytes().unwrap();
        prop_assert_eq!(Message::read(&bytes[..cut.index(bytes.len())]), Ok(None));
    }

    #[test]
    fn any_bytes_are_a_message_or_not_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((message, length))) = Message::read(&bytes) {
            prop_assert!(length <= bytes.len());
            let _ = Call::read(message);
        }
    }

    #[test]
    fn a_damaged_message_does_no_harm(message in message(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = message.bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(Some((_, length))) = Message::read(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    #[test]
    fn any_value_can_be_called_with(value in value()) {
        let _ = Call::read(Message(vec![Argument::Json(value.clone()), Argument::Json(value)]));
    }
}
