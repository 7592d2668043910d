//! Answers that need sizes: filled in when a worker has added them up.

use crate::engine::jobs::UsageFor;
use crate::engine::{ConnId, Engine, Reply};
use serde_json::{Value, json};

impl Engine {
    /// The folder that holds what a container has changed.
    pub fn upper_dir(&self, id: &str) -> String {
        format!("{}/containers/{id}/upper", self.root.path().display())
    }

    /// Puts the figures into the prepared answer and sends it.
    pub fn answer_usage(&mut self, conn: ConnId, what: &UsageFor, figures: &[u64]) {
        let answer = match what {
            UsageFor::Containers { ids, answer } => {
                let mut answer = answer.clone();
                match &mut answer {
                    Value::Array(list) => self.container_sizes(list, ids, figures),
                    one => self.container_sizes(std::slice::from_mut(one), ids, figures),
                }
                answer
            }
            UsageFor::System { volumes, containers, answer } => {
                let mut answer = answer.clone();
                if let Some(Value::Array(list)) = answer.get_mut("Containers") {
                    self.container_sizes(list, containers, figures);
                }
                if let Some(Value::Array(list)) = answer.get_mut("Volumes") {
                    for ((volume, name), size) in list.iter_mut().zip(volumes).zip(figures.iter().skip(containers.len())) {
                        volume["UsageData"] = json!({"Size": size, "RefCount": self.volume_users(name).len()});
                    }
                }
                answer
            }
        };
        self.answer(conn, Reply::Json(200, answer.to_string().into_bytes()));
    }

    fn container_sizes(&self, list: &mut [Value], ids: &[String], figures: &[u64]) {
        for ((entry, id), size) in list.iter_mut().zip(ids).zip(figures) {
            let image = self.containers.get(id).and_then(|c| self.images.by_id.get(&c.image)).map_or(0, |i| i.size());
            entry["SizeRw"] = json!(size);
            entry["SizeRootFs"] = json!(size + image);
        }
    }

    /// Ends a client's event stream after so many milliseconds.
    pub fn end_events_at(&mut self, conn: ConnId, after_ms: u64) {
        let at = crate::reactor::now_ms() + after_ms;
        self.reactor.set_timer(crate::engine::token(crate::engine::kind::EVENTS, conn), at);
    }
}
