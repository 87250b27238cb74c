//! Repeated measurements of one thing.

/// Repeated measurements of one thing, in the order they were made.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the value that a share of all (0 to 1) does not exceed; nothing when nothing was measured.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }

    /// Returns the median: the middle one, or the mean of the two in the middle.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            count if count % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// Returns how many times another's these are: the median of the rounds' ratios where both have the same number of
    /// samples, else the ratio of the medians.
    pub fn ratio_to(&self, other: &Samples) -> Option<f64> {
        if self.count() == other.count() {
            return self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect::<Samples>().median();
        }
        Some(self.median()? / other.median()?)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_95th_of_a_hundred() {
        let samples: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!((samples.median(), samples.quantile(0.95)), (Some(50.5), Some(95.0)));
        let one: Samples = [7.0].into_iter().collect();
        assert_eq!((one.median(), one.quantile(0.95)), (Some(7.0), Some(7.0)));
        let half: Samples = [20.0, 2.0, 8.0].into_iter().collect();
        let whole: Samples = [40.0, 4.0, 1.0].into_iter().collect();
        assert_eq!((half.ratio_to(&whole), half.ratio_to(&one)), (Some(0.5), Some(8.0 / 7.0)));
        assert_eq!((Samples::default().median(), Samples::default().quantile(0.95)), (None, None));
    }
}
