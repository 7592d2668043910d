//! What happened: the last 256 events, and the clients that listen.

use crate::base::time::Time;
use crate::engine::ConnId;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};

/// Events that are kept, as Docker does.
const KEPT: usize = 256;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// container, image, volume, network, daemon.
    pub kind: &'static str,
    /// create, start, die, …
    pub action: String,
    /// Of the object.
    pub id: String,
    /// name, image, exitCode, labels.
    pub attributes: Vec<(String, String)>,
    /// When.
    pub time: Time,
}

/// Filters by name; an event must match one value of each name.
pub type Filters = BTreeMap<String, Vec<String>>;

impl Event {
    /// Docker's JSON, with a newline.
    pub fn json(&self) -> Vec<u8> {
        let attributes: serde_json::Map<String, serde_json::Value> =
            self.attributes.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let mut event = json!({
            "Type": self.kind, "Action": self.action, "scope": "local",
            "Actor": {"ID": self.id, "Attributes": attributes},
            "time": self.time.seconds(), "timeNano": self.time.0,
        });
        if matches!(self.kind, "container" | "image") {
            event["status"] = json!(self.action);
            event["id"] = json!(self.id);
        }
        if self.kind == "container" {
            event["from"] = json!(self.attribute("image"));
        }
        let mut text = event.to_string().into_bytes();
        text.push(b'\n');
        text
    }

    fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.as_str())
    }

    /// Whether the filters let it through.
    pub fn matches(&self, filters: &Filters) -> bool {
        filters.iter().all(|(name, values)| {
            values.iter().any(|value| match name.as_str() {
                "type" => self.kind == value,
                "event" => self.action == *value || self.action.split(':').next() == Some(value.as_str()),
                "label" => match value.split_once('=') {
                    Some((k, v)) => self.attributes.iter().any(|(ak, av)| ak == k && av == v),
                    None => self.attributes.iter().any(|(ak, _)| ak == value),
                },
                "scope" => value == "local",
                "container" | "volume" | "network" | "image" | "daemon" => self.is_object(name, value),
                _ => false,
            })
        })
    }

    fn is_object(&self, kind: &str, value: &str) -> bool {
        let named = self.attribute("name");
        let id = self.id.strip_prefix("sha256:").unwrap_or(&self.id);
        let same = |text: &str| text == value || (text.len() > value.len() && text.starts_with(value) && value.len() >= 4);
        match (kind, self.kind) {
            ("image", "container") => self.attribute("image") == value,
            _ if kind != self.kind => false,
            _ => same(id) || self.id == value || named == value || named.split(':').next() == Some(value),
        }
    }
}

struct Listener {
    conn: ConnId,
    filters: Filters,
    /// Nanoseconds; 0 is without end.
    until: i64,
}

/// The ring and the listeners.
#[derive(Default)]
pub struct Events {
    ring: VecDeque<Event>,
    listeners: Vec<Listener>,
}

impl Events {
    /// Keeps an event; returns who is to be sent what.
    pub fn publish(&mut self, event: Event) -> Vec<(ConnId, Vec<u8>)> {
        let wanted = |l: &&Listener| (l.until == 0 || event.time.0 <= l.until) && event.matches(&l.filters);
        let mut out = Vec::new();
        if self.listeners.iter().any(|l| wanted(&l)) {
            let text = event.json();
            out.extend(self.listeners.iter().filter(wanted).map(|l| (l.conn, text.clone())));
        }
        if self.ring.len() == KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(event);
        out
    }

    /// The kept events from `since` to `until` (nanoseconds, 0 is unset) that match.
    pub fn past(&self, since: i64, until: i64, filters: &Filters) -> Vec<Vec<u8>> {
        let in_time = |e: &&Event| since != 0 && e.time.0 >= since && (until == 0 || e.time.0 <= until);
        self.ring.iter().filter(in_time).filter(|e| e.matches(filters)).map(Event::json).collect()
    }

    /// Sends future events to a connection.
    pub fn subscribe(&mut self, conn: ConnId, filters: Filters, until: i64) {
        self.listeners.push(Listener { conn, filters, until });
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.listeners.len()
    }

    /// Ends it.
    pub fn unsubscribe(&mut self, conn: ConnId) {
        self.listeners.retain(|l| l.conn != conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_anded_by_name_and_ored_by_value() {
        let event = Event {
            kind: "container",
            action: "die".into(),
            id: "0123456789abcdef".into(),
            attributes: vec![("name".into(), "web".into()), ("image".into(), "busybox".into()), ("k".into(), "v".into())],
            time: Time(5),
        };
        let filters = |text: &str| -> Filters { serde_json::from_str(text).unwrap() };
        for (text, want) in [
            (r#"{"type":["container"],"event":["die","start"]}"#, true),
            (r#"{"type":["image"]}"#, false),
            (r#"{"container":["web"]}"#, true),
            (r#"{"container":["0123456789ab"],"label":["k=v","x"]}"#, true),
            (r#"{"label":["k=w"]}"#, false),
            (r#"{"image":["busybox"]}"#, true),
            ("{}", true),
        ] {
            assert_eq!(event.matches(&filters(text)), want, "{text}");
        }
        let v: serde_json::Value = serde_json::from_slice(&event.json()).unwrap();
        assert_eq!((v["status"].as_str(), v["from"].as_str(), v["timeNano"].as_i64()), (Some("die"), Some("busybox"), Some(5)));
    }
}
