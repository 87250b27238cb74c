//! The text that Prometheus reads, line by line: written once, into one buffer.
//!
//! A look at 500 workers is some 6000 lines, so what workers are called is put together once for all of theirs.

use std::fmt::Write;

use rpm_model::edge::Latency;

/// Upper bounds of the buckets in microseconds: from what a fast app needs to what a person leaves for.
pub(crate) const REQUEST_BOUNDS: [u64; 13] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Names and values of labels.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

/// One metric with its samples; empty ones are not written.
pub(crate) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    begun: bool,
}

impl<'a> Family<'a> {
    pub(crate) fn new(text: &'a mut String, name: &'static str, kind: &'static str, help: &'static str) -> Self {
        Self { text, name, help, kind, begun: false }
    }

    pub(crate) fn add(&mut self, labels: Labels<'_>, value: f64) {
        self.part("", "", labels, value);
    }

    /// Adds a sample whose first labels are [written](written) already.
    pub(crate) fn add_of(&mut self, first: &str, labels: Labels<'_>, value: f64) {
        self.part("", first, labels, value);
    }

    /// Adds a histogram with buckets up to these bounds in microseconds; its labels are [written](written) already.
    pub(crate) fn histogram(&mut self, first: &str, bounds: &[u64], latency: &Latency) {
        for bound in bounds.iter().copied() {
            // A bucket that reaches over the bound is not wholly below it.
            let below: u64 = latency.buckets.range(..=bound).map(|(_, count)| count).sum();
            let bound = (bound as f64 / 1e6).to_string();
            self.part("_bucket", first, &[("le", &bound)], below as f64);
        }
        self.part("_bucket", first, &[("le", "+Inf")], latency.count as f64);
        self.part("_sum", first, &[], latency.sum_us as f64 / 1e6);
        self.part("_count", first, &[], latency.count as f64);
    }

    fn part(&mut self, suffix: &str, first: &str, labels: Labels<'_>, value: f64) {
        if !std::mem::replace(&mut self.begun, true) {
            let _ = writeln!(self.text, "# HELP {0} {1}\n# TYPE {0} {2}", self.name, self.help, self.kind);
        }
        let text = &mut *self.text;
        text.push_str(self.name);
        text.push_str(suffix);
        let any = !first.is_empty() || !labels.is_empty();
        if any {
            text.push('{');
            text.push_str(first);
            write_labels(text, labels, first.is_empty());
            text.push('}');
        }
        text.push(' ');
        write_number(text, value);
        text.push('\n');
    }
}

/// Returns labels as they are written between the braces.
pub(crate) fn written(labels: Labels<'_>) -> String {
    let mut text = String::new();
    write_labels(&mut text, labels, true);
    text
}

fn write_labels(text: &mut String, labels: Labels<'_>, is_first: bool) {
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 || !is_first {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(text, value);
        text.push('"');
    }
}

fn escape(text: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        return text.push_str(value);
    }
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// Writes a number. Most are whole, which is told in a fraction of the time.
fn write_number(text: &mut String, value: f64) {
    /// Up to here every whole number is itself.
    const EXACT: f64 = 9e15;
    let _ = match value.fract() == 0.0 && value.abs() < EXACT {
        true => write!(text, "{}", value as i64),
        false => write!(text, "{value}"),
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_grow_up_to_the_count() {
        let buckets = [(900, 3), (4_000, 2), (60_000_000, 1)].into_iter().collect();
        let latency = Latency { count: 6, sum_us: 60_010_700, buckets, ..Latency::default() };
        let mut text = String::new();
        Family::new(&mut text, "x", "histogram", "Help.").histogram("", &REQUEST_BOUNDS, &latency);
        assert!(text.contains("x_bucket{le=\"0.001\"} 3\n") && text.contains("x_bucket{le=\"0.005\"} 5\n"), "{text}");
        assert!(text.contains("x_bucket{le=\"10\"} 5\nx_bucket{le=\"+Inf\"} 6\nx_sum 60.0107\nx_count 6\n"), "{text}");
    }

    #[test]
    fn labels_that_are_written_already_come_first() {
        let mut text = String::new();
        let mut family = Family::new(&mut text, "x", "gauge", "Help.");
        family.add_of(&written(&[("app", "a"), ("instance", "0")]), &[("state", "online")], 1.0);
        family.add_of(&written(&[("app", "a")]), &[], 0.5);
        assert!(text.ends_with("\nx{app=\"a\",instance=\"0\",state=\"online\"} 1\nx{app=\"a\"} 0.5\n"), "{text}");
    }

    proptest! {
        #[test]
        fn no_label_breaks_out_of_its_line(value in "\\PC*|[\"\\\\\n{}]*") {
            let mut text = String::new();
            Family::new(&mut text, "x", "gauge", "Help.").add(&[("app", &value)], 1.0);
            prop_assert_eq!(text.matches('\n').count(), 3, "{}", text);
            let line = text.lines().last().unwrap();
            let inside = line.strip_prefix("x{app=\"").and_then(|rest| rest.strip_suffix("\"} 1")).unwrap();
            let back = inside.replace("\\\\", "\u{1}").replace("\\n", "\n").replace("\\\"", "\"").replace('\u{1}', "\\");
            prop_assert_eq!(back, value);
        }

        #[test]
        fn a_number_reads_back_as_it_was(value in any::<f64>()) {
            let mut text = String::new();
            write_number(&mut text, value);
            let back: f64 = text.parse().unwrap();
            prop_assert!(back == value || (back.is_nan() && value.is_nan()), "{} {}", text, value);
        }
    }
}
