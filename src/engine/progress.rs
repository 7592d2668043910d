//! Docker's progress stream: one JSON object a line.

use crate::wire::worker::Progress;
use serde_json::{Value, json};

/// One line of a JSON stream.
pub fn json_line(value: &Value) -> Vec<u8> {
    let mut text = value.to_string().into_bytes();
    text.extend_from_slice(b"\r\n");
    text
}

/// Docker's JSONMessage.
pub fn progress_line(p: &Progress) -> Vec<u8> {
    let mut message = json!({"status": p.status});
    if p.total > 0 || p.current > 0 {
        let mut detail = json!({"current": p.current});
        if p.total > 0 {
            detail["total"] = json!(p.total);
        }
        message["progressDetail"] = detail;
        message["progress"] = json!(bar(p.current, p.total));
    } else if !p.id.is_empty() && !p.status.starts_with("Pulling from") {
        message["progressDetail"] = json!({});
    }
    if !p.id.is_empty() {
        message["id"] = json!(p.id);
    }
    json_line(&message)
}

/// `[====>      ]  1.2MB/3.4MB`: for clients that print it as it is.
fn bar(current: u64, total: u64) -> String {
    let size = crate::base::size::human;
    if total == 0 {
        return format!("{:>8}", size(current));
    }
    let filled = ((current.min(total) as u128 * 50) / u128::from(total)) as usize;
    let arrow = if filled < 50 { ">" } else { "" };
    format!("[{}{arrow}{}] {:>8}/{}", "=".repeat(filled), " ".repeat(50 - filled - arrow.len()), size(current), size(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_dockers() {
        let p = Progress { status: "Downloading".into(), id: "0123456789ab".into(), current: 500, total: 1000 };
        let v: Value = serde_json::from_slice(&progress_line(&p)).unwrap();
        assert_eq!(v["progressDetail"], json!({"current": 500, "total": 1000}));
        assert_eq!(v["progress"], format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(24)));
        let p = Progress { status: "Pull complete".into(), id: "x".into(), ..Progress::default() };
        assert_eq!(
            String::from_utf8(progress_line(&p)).unwrap(),
            "{\"id\":\"x\",\"progressDetail\":{},\"status\":\"Pull complete\"}\r\n"
        );
    }
}
