//! The valid name closest to a mistyped one.

/// Returns the candidate closest to `typed`, if one is close enough to be what was meant.
///
/// Closeness is Damerau-Levenshtein: one slip (a swapped, missing or extra letter) per three letters typed.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (typed.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| {
            let slips = strsim::damerau_levenshtein(&typed.to_lowercase(), &candidate.to_lowercase());
            // A beginning that was not typed to its end (`ap` for `api`) is as good as one slip.
            let prefix = typed.len() >= 2 && candidate.starts_with(typed);
            (if prefix { slips.min(1) } else { slips }, candidate)
        })
        .filter(|(slips, _)| *slips <= allowed)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let keys = ["exec_mode", "instances", "name"];
        assert_eq!(nearest("exec_mod", keys), Some("exec_mode"));
        assert_eq!(nearest("instnaces", keys), Some("instances"));
        assert_eq!(nearest("zebra", keys), None);
        assert_eq!(nearest("ap", ["api", "web"]), Some("api"));
    }
}
