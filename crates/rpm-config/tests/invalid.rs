//! Every mistake has a file in `invalid/` and its message beside it.

mod common;

use rpm_config::{AppOptions, load};

#[test]
fn every_mistake_is_told_in_its_line() {
    let mut failures = Vec::new();
    for case in common::cases("invalid") {
        let name = case.strip_prefix(common::tests()).expect("below the tests");
        let path = std::path::Path::new("..").join(name);
        let told = match load(&path, &AppOptions::default(), &common::context()) {
            Ok(loaded) => format!("accepted: {loaded:#?}"),
            Err(error) => error.to_string(),
        };
        assert!(!told.contains("node:internal"), "{told}");
        common::compare(&case, &told, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
