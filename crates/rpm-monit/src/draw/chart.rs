//! Charts of several rows, filled from below.

use super::canvas::Canvas;
use crate::theme::Theme;

const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// Draws one column for each value, the newest at the right edge, `full` as high as the canvas. A value above zero
/// is always seen. `levels` colours by height; without it all of the chart has the lowest level's colour.
pub(crate) fn draw(values: &[f64], full: f64, levels: bool, theme: &Theme, canvas: &mut Canvas<'_>) {
    let (width, height) = (usize::from(canvas.width()), canvas.height());
    let values = &values[values.len().saturating_sub(width)..];
    let start = (width - values.len()) as u16;
    let most = f64::from(height) * 8.0;
    for (column, value) in values.iter().enumerate() {
        let share = if full > 0.0 { (value / full).clamp(0.0, 1.0) } else { 0.0 };
        let least = if *value > 0.0 { 1.0 } else { 0.0 };
        let mut left = (share * most).round().max(least) as u16;
        for up in 0..height {
            let eighths = left.min(8);
            left -= eighths;
            if eighths == 0 && up > 0 {
                break;
            }
            // The base line shows where the chart is, and since when there is something to show.
            let bar = if eighths == 0 { "▁" } else { EIGHTHS[usize::from(eighths)] };
            let style = match (eighths, levels) {
                (0, _) => theme.dim,
                (_, true) => theme.level(f64::from(up) / f64::from(height.max(2) - 1)),
                (_, false) => theme.chart[0],
            };
            canvas.put(start + column as u16, height - 1 - up, bar, style);
        }
    }
}
