//! Tables without lines, as wide as their content: to be read by people and cut by `awk`.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};

/// Rows under headings, one line each, with a line end.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_line_and_nothing_trails() {
        let rows = [["flights", "ready"], ["a", "missing"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&["PIPELINE", "STATE"], rows), "PIPELINE  STATE\nflights   ready\na         missing\n");
    }
}
