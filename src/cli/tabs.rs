//! Columns as Go's text/tabwriter makes them for Docker: at least ten wide, three spaces between, the last cell as it is. On a plain
//! terminal they are made to fit.

/// The tab-separated cells of a text's lines as columns, for standard output.
pub fn show(text: &str) -> String {
    match crate::cli::terminal::plain_width() {
        Some(width) => fit(text, width),
        None => align(text),
    }
}

/// The same in lines that are shorter than `width`: two spaces between columns, and the widest cells are cut, `~` at their ends. Columns no
/// wider than an ID, which is typed again elsewhere, stay whole as long as the others suffice.
fn fit(text: &str, width: usize) -> String {
    const ID: usize = 12;
    const NARROW: usize = 8;
    const NARROWEST: usize = 4;
    let mut widths: Vec<usize> = Vec::new();
    for line in text.lines().filter(|l| l.contains('\t')) {
        for (i, cell) in line.split('\t').enumerate() {
            let length = cell.chars().count();
            match widths.get_mut(i) {
                Some(known) => *known = length.max(*known),
                None => widths.push(length),
            }
        }
    }
    let room = width.saturating_sub(1 + 2 * widths.len().saturating_sub(1));
    let whole = widths.clone();
    while widths.iter().sum::<usize>() > room {
        let long = widths.iter_mut().zip(&whole).filter(|(w, whole)| **whole > ID && **w > NARROW).map(|(w, _)| w).max();
        match long {
            Some(widest) => *widest -= 1,
            None => match widths.iter_mut().max() {
                Some(widest) if *widest > NARROWEST => *widest -= 1,
                _ => break,
            },
        }
    }
    let mut out = String::new();
    for line in text.lines() {
        let mut shown = String::new();
        if line.contains('\t') {
            for (cell, most) in line.split('\t').zip(&widths) {
                shown.push_str(&format!("{:<most$}  ", cut(cell, *most)));
            }
        } else {
            shown.push_str(line);
        }
        out.push_str(&cut(shown.trim_end(), width - 1));
        out.push('\n');
    }
    out
}

/// At most so many characters of a text; `~` stands for the others.
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most.saturating_sub(1)).chain(['~']).collect()
}

/// Appends words as lines of less than `width`; `line` is what stands before them already, and further lines begin with `indent`
/// spaces.
pub fn wrap(out: &mut String, line: &str, words: &str, indent: usize, width: usize) {
    out.push_str(line);
    let mut at = line.chars().count();
    for (i, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if i > 0 && at + 1 + length >= width.max(indent + 20) {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            at = indent;
        } else if i > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += length;
    }
    out.push('\n');
}

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
    fn on_a_plain_terminal_the_widest_cells_give_way() {
        let text = "ID\tIMAGE\tNAMES\n0123456789ab\tregistry.example/some/long/image:latest\tweb\nwhole line\n";
        let shown = fit(text, 40);
        assert_eq!(shown, "ID            IMAGE               NAMES\n0123456789ab  registry.example/~  web\nwhole line\n");
        let row =
            "0123456789ab\t10.0.2.2:5000/name\t\"sh -c 'sleep 10'\"\t2 minutes ago\tUp 2 minutes\t\ta-long-name-of-compose\n";
        assert_eq!(fit(row, 80), "0123456789ab  10.0.2.2:5~  \"sh -c 'sl~  2 minutes ~  Up 2 minutes    a-long-na~\n");
        assert!(fit(text, 12).lines().all(|l| l.chars().count() < 12));
        assert_eq!(fit("A\tB\n1\t2\n", 80), "A  B\n1  2\n");
    }

    #[test]
    fn words_wrap_below_each_other() {
        let mut out = String::new();
        wrap(&mut out, "  --flag   ", "some words that are many", 11, 32);
        assert_eq!(out, "  --flag   some words that are\n           many\n");
    }

    #[test]
    fn columns_are_ten_wide_or_three_more_than_the_longest() {
        assert_eq!(align("A\tBB\tC\n123456789\tx\t\n"), "A           BB        C\n123456789   x         \n");
        assert_eq!(align("plain\n"), "plain\n");
        assert_eq!(align("ä\tb"), "ä         b");
    }
}
