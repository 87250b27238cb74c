//! Amounts of memory.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// The text was not an amount of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBytes;

impl fmt::Display for BadBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected bytes, or a number with K, M or G, for example 512M")
    }
}

impl std::error::Error for BadBytes {}

impl Bytes {
    /// Reads `104857600`, `100K`, `512M`, `1.5G` or `512MB`; the units are powers of 1024, as in PM2.
    pub fn parse(text: &str) -> Result<Self, BadBytes> {
        let text = text.trim();
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let scale = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 1.0,
            "K" | "KB" => 1024.0,
            "M" | "MB" => 1024.0 * 1024.0,
            "G" | "GB" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(BadBytes),
        };
        let number: f64 = number.parse().map_err(|_| BadBytes)?;
        // 2^60 is far above any machine and still exact enough as a float.
        if number * scale > (1u64 << 60) as f64 {
            return Err(BadBytes);
        }
        Ok(Self((number * scale) as u64))
    }
}

impl fmt::Display for Bytes {
    /// Writes the form of `pm2 ls`: `52.5mb`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["b", "kb", "mb", "gb", "tb"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let text = format!("{value:.1}");
        f.pad(&format!("{}{}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_pm2_writes_them() {
        assert_eq!(Bytes::parse("100K"), Ok(Bytes(102_400)));
        assert_eq!(Bytes::parse("1.5G"), Ok(Bytes(1_610_612_736)));
        assert_eq!(Bytes::parse("512mb"), Ok(Bytes(536_870_912)));
        assert_eq!(Bytes::parse("1024"), Ok(Bytes(1024)));
        for bad in ["", "M", "1Z", "-1", "1 1", "99999999999G"] {
            assert_eq!(Bytes::parse(bad), Err(BadBytes), "{bad}");
        }
    }

    #[test]
    fn amounts_look_as_in_pm2_ls() {
        assert_eq!(Bytes(55_050_240).to_string(), "52.5mb");
        assert_eq!(Bytes(0).to_string(), "0b");
        assert_eq!(Bytes(1 << 30).to_string(), "1gb");
    }
}
