//! Lists as Docker prints them: a table by default, a Go template on request, JSON, or IDs only.

use crate::base::{Error, Result};
use crate::cli::tabs;
use crate::cli::template::{Missing, Template};
use crate::cli::value::Json;
use std::io::Write;

/// How a kind of list looks.
pub struct Layout {
    /// Column name as templates know it (`ID`), and its heading (`CONTAINER ID`).
    pub headings: &'static [(&'static str, &'static str)],
    /// The template of the default table, without the word "table".
    pub table: &'static str,
    /// The template of `-q`.
    pub quiet: &'static str,
}

impl Layout {
    /// The text of a list in the wanted format; the rows are objects with the fields of `headings`.
    pub fn render(&self, format: &str, quiet: bool, rows: &[Json]) -> Result<String> {
        let format = match (format, quiet) {
            ("" | "table", true) => self.quiet,
            ("" | "table", false) => return self.columns(self.table, rows),
            ("json", _) => "{{json .}}",
            (other, _) => match other.strip_prefix("table ") {
                Some(columns) => return self.columns(columns, rows),
                None => other,
            },
        };
        let template = Template::parse(&unescape(format))?;
        let mut out = String::new();
        for row in rows {
            out.push_str(&template.render(row, Missing::Error)?);
            out.push('\n');
        }
        Ok(out)
    }

    fn columns(&self, format: &str, rows: &[Json]) -> Result<String> {
        let template = Template::parse(&unescape(format.trim()))?;
        let headings = Json::Obj(self.headings.iter().map(|(k, v)| (k.to_string(), Json::from(*v))).collect());
        let mut out = template.render(&headings, Missing::Error)?;
        out.push('\n');
        for row in rows {
            out.push_str(&template.render(row, Missing::Error)?);
            out.push('\n');
        }
        Ok(tabs::show(&out))
    }

    /// Prints the list.
    pub fn print(&self, format: &str, quiet: bool, rows: &[Json]) -> Result<()> {
        say(&self.render(format, quiet, rows)?)
    }
}

/// `\t` and `\n` as people write them in a shell's quotes.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Writes to standard output; a reader that has gone away is an error with no words.
pub fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
        std::io::ErrorKind::BrokenPipe => Error::internal(""),
        _ => Error::from(e).context("write the output"),
    })
}

/// Writes a line to standard output.
pub fn line(text: &str) -> Result<()> {
    say(&format!("{text}\n"))
}

/// Prints one object by a template (`version`, `info`): `json` means the JSON of it.
pub fn object(format: &str, data: &Json) -> Result<()> {
    match format {
        "json" => line(&data.compact()),
        _ => line(&Template::parse(&unescape(format))?.render(data, Missing::Api)?),
    }
}

/// Asks on the terminal; only `y` is yes.
pub fn confirm(question: &str) -> Result<bool> {
    say(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Runs `each` for every name; failures are printed, and the exit status is 1 if there was one.
pub fn for_each(names: &[String], mut each: impl FnMut(&str) -> Result<()>) -> Result<i32> {
    let mut status = 0;
    for name in names {
        if let Err(e) = each(name) {
            eprintln!("{e}");
            status = 1;
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout =
        Layout { headings: &[("ID", "THE ID"), ("Name", "NAME")], table: "{{.ID}}\t{{.Name}}", quiet: "{{.ID}}" };

    #[test]
    fn every_format() {
        let rows = [Json::parse(br#"{"ID":"1","Name":"one"}"#).unwrap()];
        let render = |format, quiet| LAYOUT.render(format, quiet, &rows).unwrap();
        assert_eq!(render("", false), "THE ID    NAME\n1         one\n");
        assert_eq!(render("", true), "1\n");
        assert_eq!(render("json", false), "{\"ID\":\"1\",\"Name\":\"one\"}\n");
        assert_eq!(render("table {{.Name}}\\t{{.ID}}", false), "NAME      THE ID\none       1\n");
        assert_eq!(render("{{.Name}}", true), "one\n");
        assert!(LAYOUT.render("{{.Nope}}", false, &rows).is_err());
    }
}
