//! Help in pages. A plain terminal, such as one on a serial line, keeps nothing of what has left its top; so it gets what fits, and
//! the rest when somebody asks.

use crate::base::Result;
use crate::cli::{output, terminal};

/// What stands below a page. The answer is a line: the terminal's settings stay as they are, whoever stops us.
const PROMPT: &str = "-- Enter: more, q: end -- ";

/// Prints a text: in pages if it is longer than the plain terminal that it goes to, and if somebody sits there who can answer.
pub fn show(text: &str) -> Result<()> {
    let rows = match terminal::size() {
        Some((rows, _)) if terminal::plain_width().is_some() && terminal::stdin_is_terminal() => usize::from(rows),
        _ => return output::say(text),
    };
    let all = pages(text, rows);
    for (i, page) in all.iter().enumerate() {
        output::say(page)?;
        if i + 1 == all.len() {
            break;
        }
        output::say(PROMPT)?;
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer)? == 0 || answer.trim_start().starts_with(['q', 'Q']) {
            break;
        }
    }
    Ok(())
}

/// The text in pieces that leave a row for what stands below.
fn pages(text: &str, rows: usize) -> Vec<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.chunks(rows.max(3) - 1).map(|page| page.concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leaves_room_for_the_prompt() {
        assert_eq!(pages("1\n2\n3\n4\n5\n", 4), ["1\n2\n3\n", "4\n5\n"]);
        assert_eq!(pages("1\n2\n3\n", 4), ["1\n2\n3\n"]);
        assert_eq!(pages("1\n2\n3\n", 0).len(), 2);
        assert!(pages("", 24).is_empty());
    }
}
