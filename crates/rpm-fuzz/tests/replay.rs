//! Every input of `fuzz/corpus` is read again, also those that once failed.

use std::path::Path;

#[test]
fn the_corpora_are_read_without_a_panic() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in rpm_fuzz::TARGETS {
        let corpus = corpora.join(name);
        let inputs = corpus.read_dir().unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut count = 0;
        for input in inputs {
            let path = input.expect("an input").path();
            let bytes = std::fs::read(&path).expect("an input");
            // Where it panics, the name is what is wanted first.
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{name} fails on {}", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has no inputs");
    }
}
