//! The progress stream of pull, push and load: on a terminal each layer keeps its own line; on a plain one, such as a serial line, there
//! is at most one short line a second; elsewhere only lines that stay true are printed.

use crate::base::{Context, Error, Result};
use crate::cli::http::Response;
use crate::cli::value::Json;
use crate::cli::{tabs, terminal};
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

/// Shows the stream on `out` until it ends; an error in it is ours. `ids` are for terminals only.
pub fn show(body: Response, out: &mut dyn Write, is_terminal: bool) -> Result<()> {
    let mut plain = (is_terminal && terminal::is_plain()).then(|| Plain::new(terminal::width()));
    let mut screen = Screen { lines: Vec::new(), cursor: is_terminal };
    let mut failure = None;
    for message in serde_json::Deserializer::from_reader(body).into_iter::<Json>() {
        let message = message.map_err(|e| Error::internal(format!("the daemon's progress stream ended early: {e}")))?;
        let error = message.path("errorDetail.message").str();
        let error = if error.is_empty() { message.get("error").str() } else { error };
        if !error.is_empty() {
            failure = Some(Error::internal(error));
            continue;
        }
        let text = match &mut plain {
            Some(plain) => plain.message(&message, Instant::now()),
            None => screen.message(&message),
        };
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context(|| "write the output")?;
    }
    failure.map_or(Ok(()), Err)
}

/// Reads the stream without showing it.
pub fn swallow(body: Response) -> Result<()> {
    show(body, &mut std::io::sink(), false)
}

/// All layers together, in one line from time to time.
struct Plain {
    width: usize,
    layers: Vec<Layer>,
    /// When the last line was printed.
    last: Option<Instant>,
}

struct Layer {
    id: String,
    done: bool,
    current: i64,
    total: i64,
}

impl Plain {
    fn new(width: usize) -> Plain {
        Plain { width, layers: Vec::new(), last: None }
    }

    fn message(&mut self, message: &Json, now: Instant) -> String {
        let (id, status, stream) = (message.get("id").str(), message.get("status").str(), message.get("stream").str());
        if !stream.is_empty() {
            return stream.into();
        }
        if id.is_empty() || status.starts_with("Pulling from") {
            let text = if id.is_empty() { status.to_string() } else { format!("{id}: {status}") };
            return if status.is_empty() { text } else { tabs::cut(&text, self.width - 1) + "\n" };
        }
        self.note(id, status, message.get("progressDetail"));
        if self.last.is_some_and(|last| now.duration_since(last) < Duration::from_secs(1)) {
            return String::new();
        }
        self.last = Some(now);
        tabs::cut(&self.line(), self.width - 1) + "\n"
    }

    fn note(&mut self, id: &str, status: &str, detail: &Json) {
        let at = self.layers.iter().position(|l| l.id == id).unwrap_or_else(|| {
            self.layers.push(Layer { id: id.into(), done: false, current: 0, total: 0 });
            self.layers.len() - 1
        });
        let layer = &mut self.layers[at];
        match status {
            "Downloading" | "Pushing" | "Loading layer" => {
                (layer.current, layer.total) = (detail.get("current").int(), detail.get("total").int().max(layer.total));
            }
            "Waiting" | "Pulling fs layer" | "Preparing" => {}
            _ => layer.current = layer.total,
        }
        layer.done = matches!(status, "Pull complete" | "Already exists" | "Pushed" | "Layer already exists");
    }

    fn line(&self) -> String {
        let human = |sum: i64| crate::base::size::human(sum.max(0) as u64);
        let done = self.layers.iter().filter(|l| l.done).count();
        let sum = |of: fn(&Layer) -> i64| self.layers.iter().map(of).sum::<i64>();
        let layers = format!("{done} of {} layers", self.layers.len());
        match sum(|l| l.total) {
            0 => layers,
            total => format!("{layers}, {} of {}", human(sum(|l| l.current.min(l.total))), human(total)),
        }
    }
}

struct Screen {
    /// IDs in the order of their lines, from the top.
    lines: Vec<String>,
    cursor: bool,
}

impl Screen {
    fn message(&mut self, message: &Json) -> String {
        let stream = message.get("stream").str();
        if !stream.is_empty() {
            return stream.into();
        }
        let (id, status) = (message.get("id").str(), message.get("status").str());
        let detail = message.get("progressDetail");
        let (current, total) = (detail.get("current").int(), detail.get("total").int());
        let has_bar = current > 0 || total > 0 || !message.get("progress").str().is_empty();
        if status.is_empty() {
            return String::new(); // "aux" and the like
        }
        let line = match (id.is_empty(), has_bar && self.cursor) {
            (true, _) => status.to_string(),
            (false, false) => format!("{id}: {status}"),
            (false, true) => format!("{id}: {status} {}", bar(current, total)),
        };
        if !self.cursor {
            return if has_bar { String::new() } else { line + "\n" };
        }
        if id.is_empty() {
            self.lines.clear(); // lines above this one stay as they are
            return line + "\r\n";
        }
        let mut out = String::new();
        let up = match self.lines.iter().position(|known| known == id) {
            Some(at) => self.lines.len() - at,
            None => {
                self.lines.push(id.into());
                out.push('\n');
                1
            }
        };
        _ = write!(out, "\x1b[{up}A\x1b[2K\r{line}\r\x1b[{up}B");
        out
    }
}

/// `[====>      ]  1.2MB/3.4MB`, to the width of the terminal.
fn bar(current: i64, total: i64) -> String {
    let human = |n: i64| crate::base::size::human(n.max(0) as u64);
    if total <= 0 {
        return format!("{:>8}", human(current));
    }
    let figures = format!(" {:>8}/{}", human(current), human(total));
    let width = terminal::size().map_or(80, |(_, columns)| usize::from(columns));
    if width < 110 {
        return figures;
    }
    let done = (50 * current.clamp(0, total) / total) as usize;
    format!("[{}>{}] {figures}", "=".repeat(done), " ".repeat(50usize.saturating_sub(done)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_only_what_stays_true() {
        let mut screen = Screen { lines: Vec::new(), cursor: false };
        let mut feed = |text: &str| screen.message(&Json::parse(text.as_bytes()).unwrap());
        assert_eq!(feed(r#"{"status":"Pulling from x","id":"latest"}"#), "latest: Pulling from x\n");
        assert_eq!(feed(r#"{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"ab"}"#), "");
        assert_eq!(feed(r#"{"status":"Pull complete","progressDetail":{},"id":"ab"}"#), "ab: Pull complete\n");
        assert_eq!(feed(r#"{"stream":"Loaded image: x\n"}"#), "Loaded image: x\n");
    }

    #[test]
    fn on_a_plain_terminal_there_is_one_line_a_second() {
        let (mut plain, start) = (Plain::new(40), Instant::now());
        let mut feed = |text: &str, ms| plain.message(&Json::parse(text.as_bytes()).unwrap(), start + Duration::from_millis(ms));
        assert_eq!(feed(r#"{"status":"Pulling from x","id":"latest"}"#, 0), "latest: Pulling from x\n");
        assert_eq!(feed(r#"{"status":"Pulling fs layer","id":"a","progressDetail":{}}"#, 0), "0 of 1 layers\n");
        assert_eq!(feed(r#"{"status":"Pulling fs layer","id":"b","progressDetail":{}}"#, 500), "");
        let half = r#"{"status":"Downloading","progressDetail":{"current":1000,"total":2000},"id":"a"}"#;
        assert_eq!(feed(half, 999), "");
        assert_eq!(feed(half, 1000), "0 of 2 layers, 1kB of 2kB\n");
        assert_eq!(feed(r#"{"status":"Pull complete","progressDetail":{},"id":"a"}"#, 1500), "");
        assert_eq!(feed(r#"{"status":"Waiting","progressDetail":{},"id":"b"}"#, 2000), "1 of 2 layers, 2kB of 2kB\n");
        assert_eq!(feed(&format!(r#"{{"status":"Status: {}"}}"#, "x".repeat(50)), 2000).len(), 40);
    }

    #[test]
    fn on_a_terminal_each_layer_has_its_line() {
        let mut screen = Screen { lines: Vec::new(), cursor: true };
        let mut feed = |text: &str| screen.message(&Json::parse(text.as_bytes()).unwrap());
        assert_eq!(feed(r#"{"status":"Waiting","id":"a"}"#), "\n\x1b[1A\x1b[2K\ra: Waiting\r\x1b[1B");
        feed(r#"{"status":"Waiting","id":"b"}"#);
        assert_eq!(feed(r#"{"status":"Done","id":"a"}"#), "\x1b[2A\x1b[2K\ra: Done\r\x1b[2B");
    }
}
