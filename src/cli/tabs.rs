//! Columns as Go's text/tabwriter makes them for Docker: at least ten wide, three spaces between, the last cell as it is.

/// Aligns the tab-separated cells of a text's lines.
pub fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    column(&lines, &mut widths, 0, 0, lines.len());
    let mut out = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (i, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if i + 1 < cells.len() {
                (cell.chars().count()..widths[i]).for_each(|_| out.push(' '));
            }
        }
        out.push('\n');
    }
    if !text.ends_with('\n') {
        out.pop();
    }
    out
}

/// A column is a run of neighbouring lines that all have a cell there which ends in a tab.
fn column(lines: &[Vec<&str>], widths: &mut [Vec<usize>], at: usize, from: usize, to: usize) {
    let mut i = from;
    while i < to {
        if at + 1 >= lines[i].len() {
            i += 1;
            continue;
        }
        let start = i;
        let mut width = 10;
        while i < to && at + 1 < lines[i].len() {
            width = width.max(lines[i][at].chars().count() + 3);
            i += 1;
        }
        widths[start..i].iter_mut().for_each(|w| w[at] = width);
        column(lines, widths, at + 1, start, i);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_ten_wide_or_three_more_than_the_longest() {
        assert_eq!(align("A\tBB\tC\n123456789\tx\t\n"), "A           BB        C\n123456789   x         \n");
        assert_eq!(align("plain\n"), "plain\n");
        assert_eq!(align("ä\tb"), "ä         b");
    }
}
