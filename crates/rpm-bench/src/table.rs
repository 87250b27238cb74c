//! Figures as a Markdown table.

use crate::samples::Samples;

/// One line of the table: the same thing measured of several contenders.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub figure: String,
    /// Its unit.
    pub unit: &'static str,
    /// Contenders and their samples, the one that the targets speak of first.
    pub measured: Vec<(&'static str, Samples)>,
    /// What is promised.
    pub targets: Vec<Target>,
}

/// A promise about the first contender.
///
/// Where contenders took turns, the ratio is the median of the ratios of each round: what slows the machine down for a
/// while slows down both sides of a round. Else it is the ratio of the medians.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most this many times another contender's figure.
    AtMostTimes(f64, &'static str),
    /// At least this many times another contender's figure.
    AtLeastTimes(f64, &'static str),
    /// The median is at most this.
    AtMost(f64),
}

/// Whether a promise was kept; the text says how far.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// How the measurement relates to the promise.
    pub text: String,
    /// Kept, broken, or not to be told since something was not measured.
    pub met: Option<bool>,
}

impl Row {
    /// Returns the verdict on each promise.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let of =
            |name: &str| self.measured.iter().find(|(contender, _)| *contender == name).map(|(_, samples)| samples);
        let own = of("rpm");
        let ratio = |name: &str| own.zip(of(name)).and_then(|(own, other)| own.ratio_to(other));
        self.targets.iter().map(|target| target.verdict(own.and_then(Samples::median), ratio, self.unit)).collect()
    }
}

impl Target {
    fn verdict(self, own: Option<f64>, ratio: impl Fn(&str) -> Option<f64>, unit: &str) -> Verdict {
        match self {
            Target::AtMost(limit) => {
                Verdict { text: format!("at most {} {unit}", number(limit)), met: own.map(|own| own <= limit) }
            }
            Target::AtMostTimes(limit, other) => {
                let ratio = ratio(other);
                let wanted =
                    if limit < 1.0 { format!("1/{}", number(1.0 / limit)) } else { format!("{}x", number(limit)) };
                let found = ratio.map_or(String::new(), |ratio| {
                    if ratio < 1.0 {
                        format!(", is 1/{}", number(1.0 / ratio))
                    } else {
                        format!(", is {}x", number(ratio))
                    }
                });
                Verdict { text: format!("at most {wanted} of {other}{found}"), met: ratio.map(|ratio| ratio <= limit) }
            }
            Target::AtLeastTimes(limit, other) => {
                let ratio = ratio(other);
                let found = ratio.map_or(String::new(), |ratio| format!(", is {}x", number(ratio)));
                Verdict {
                    text: format!("at least {}x {other}{found}", number(limit)),
                    met: ratio.map(|ratio| ratio >= limit),
                }
            }
        }
    }
}

/// Returns the heading of the table.
pub fn heading(contenders: &[&str]) -> String {
    let rule = "---|".repeat(contenders.len() + 3);
    format!("| figure | {} | target | met |\n|{rule}", contenders.join(" | "))
}

/// Returns one line of the table. A cell is the median, with the 95th percentile and the number of samples behind it.
pub fn line(row: &Row, contenders: &[&str]) -> String {
    let cells: Vec<String> = contenders
        .iter()
        .map(|contender| {
            let found = row.measured.iter().find(|(name, _)| name == contender);
            found.map_or("–".into(), |(_, samples)| cell(samples))
        })
        .collect();
    let verdicts = row.verdicts();
    let texts: Vec<&str> = verdicts.iter().map(|verdict| &*verdict.text).collect();
    let met: Vec<&str> = verdicts
        .iter()
        .map(|verdict| match verdict.met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "?",
        })
        .collect();
    format!("| {}, {} | {} | {} | {} |", row.figure, row.unit, cells.join(" | "), texts.join("; "), met.join("; "))
}

fn cell(samples: &Samples) -> String {
    match (samples.median(), samples.quantile(0.95)) {
        (Some(median), Some(_)) if samples.count() == 1 => number(median),
        (Some(median), Some(high)) => format!("{} (p95 {}, n={})", number(median), number(high), samples.count()),
        _ => "–".into(),
    }
}

/// Returns a number with three digits that matter.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value == 0.0 || value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        value if value >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rpm: Option<f64>, pm2: Option<f64>, target: Target) -> Row {
        let samples = |value: Option<f64>| value.into_iter().collect();
        let measured = vec![("rpm", samples(rpm)), ("PM2", samples(pm2))];
        Row { figure: "list".into(), unit: "ms", measured, targets: vec![target] }
    }

    #[test]
    fn a_row_shows_ratios_and_whether_the_target_is_met() {
        let met = row(Some(4.0), Some(200.0), Target::AtMostTimes(1.0 / 40.0, "PM2"));
        assert_eq!(line(&met, &["rpm", "PM2"]), "| list, ms | 4 | 200 | at most 1/40 of PM2, is 1/50 | yes |");
        let missed = row(Some(4.0), Some(2.0), Target::AtMostTimes(1.5, "PM2"));
        assert_eq!(line(&missed, &["rpm"]), "| list, ms | 4 | at most 1.5x of PM2, is 2x | **no** |");
        let alone = row(Some(4.0), None, Target::AtLeastTimes(1.3, "PM2"));
        assert_eq!(line(&alone, &["rpm", "PM2"]), "| list, ms | 4 | – | at least 1.3x PM2 | ? |");
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let texts = [0.0, 0.01234, 0.5, 1.234, 12.34, 123.4, 12345.6].map(number);
        assert_eq!(texts, ["0", "0.0123", "0.5", "1.23", "12.3", "123", "12346"]);
    }
}
