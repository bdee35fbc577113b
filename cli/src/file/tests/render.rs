//! How diagnostics look.

use super::{SOUND, load};
use crate::show::{Style, diagnostics};

#[test]
fn a_diagnostic_shows_the_line_underlines_the_spot_and_names_the_fix() {
    let text = SOUND
        .replace("every: 1h", "every: 6h")
        .replace("path: visits }", "path: 'visits/{window.start:%H}' }")
        .replace("lag: 5m", "lagg: 5m");
    let expected = "\
warning[WR-W005]: rows that come after their window was read are never loaded
  p.yaml:8:76
";
    let shown = diagnostics::render(&load(&text), Style::plain());
    assert_eq!(shown, expected, "\n{shown}");
}
