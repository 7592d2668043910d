//! How much is written to flash, and for what: each worker tells at its end, the committer with each batch. The sums are kept in the
//! exec root, and go to the data root at most once an hour, if something was written since: idle writes nothing.

use crate::base::time::Time;
use crate::engine::{Engine, kind, token};
use crate::reactor::now_ms;
use crate::store::Device;
use crate::wire::worker::{Wear, Written};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The file in the exec root and in the data root.
const FILE: &str = "wear.json";
/// Between two writes to the data root.
const PAUSE_MS: u64 = 3600 * 1000;
/// What the committer's share is called.
const STATE: &str = "state";

/// The sums.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Sums {
    /// Since when, nanoseconds since 1970.
    since: i64,
    /// By kind of job.
    jobs: BTreeMap<String, Sum>,
    /// To the device, by whomever, while a daemon ran.
    device: Written,
}

/// Of one kind of job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Sum {
    count: u64,
    bytes: u64,
    /// What the device was told to write meanwhile, by whomever.
    device: Written,
}

/// What is known of the wear.
#[derive(Debug, Default)]
pub struct Wears {
    sums: Sums,
    device: Option<Device>,
    /// The device's counts when the sum of it was last brought up to date.
    seen: Written,
    /// The last batch of changes that wrote nothing but the sums.
    own_batch: u64,
}

impl Wears {
    /// At start: goes on with the sums of this boot, or with those that were kept.
    pub fn load(exec_root: &str, data_root: &std::path::Path) -> Wears {
        let read = |path: std::path::PathBuf| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
        let kept: Option<Sums> = read(format!("{exec_root}/{FILE}").into()).or_else(|| read(data_root.join(FILE)));
        let sums = kept.unwrap_or_else(|| Sums { since: Time::now().0, ..Sums::default() });
        let device = Device::below(data_root);
        let seen = device.as_ref().and_then(Device::written).unwrap_or_default();
        Wears { sums, device, seen, own_batch: 0 }
    }

    fn look_at_device(&mut self) {
        let Some(now) = self.device.as_ref().and_then(Device::written) else { return };
        self.sums.device.add(now.since(&self.seen));
        self.seen = now;
    }
}

impl Engine {
    /// A worker has ended and tells what it wrote.
    pub fn job_wore(&mut self, job: &str, wear: &Wear) {
        let sum = self.wears.sums.jobs.entry(job.to_string()).or_default();
        sum.count += 1;
        sum.bytes = sum.bytes.saturating_add(wear.bytes);
        sum.device.add(wear.device);
        if wear.bytes > 0 {
            self.note_wear();
        }
    }

    /// The committer has written that much for the batches up to `batch`.
    pub fn state_wore(&mut self, bytes: u64, batches: u64, batch: u64) {
        let sum = self.wears.sums.jobs.entry(STATE.to_string()).or_default();
        sum.count += batches;
        sum.bytes = sum.bytes.saturating_add(bytes);
        if batch > self.wears.own_batch {
            self.keep_wear_later();
        }
    }

    fn note_wear(&mut self) {
        self.wears.look_at_device();
        self.keep_wear_volatile();
        self.keep_wear_later();
    }

    fn keep_wear_later(&mut self) {
        let timer = token(kind::WEAR, 0);
        if !self.reactor.has_timer(timer) {
            self.reactor.set_timer(timer, now_ms() + PAUSE_MS);
        }
    }

    /// Writes the sums to the exec root: for the next daemon of this boot.
    pub fn keep_wear_volatile(&self) {
        let path = format!("{}/{FILE}", self.settings.exec_root);
        let written = serde_json::to_vec(&self.wears.sums).map(|text| std::fs::write(&path, text));
        if let Ok(Err(e)) = written {
            log::warn!("write {path}: {e}");
        }
    }

    /// The hour is over: the sums go to the data root.
    pub fn keep_wear(&mut self) {
        self.wears.look_at_device();
        self.keep_wear_volatile();
        if let Ok(text) = serde_json::to_string(&self.wears.sums) {
            self.committer.write(FILE, text);
            self.wears.own_batch = self.committer.barrier();
        }
    }

    /// `GET /system/wear`.
    pub fn wear(&mut self) -> Value {
        self.wears.look_at_device();
        let Wears { sums, device, .. } = &self.wears;
        let written = |w: &Written| json!({"Bytes": w.bytes, "Requests": w.requests});
        let jobs: Vec<Value> = sums
            .jobs
            .iter()
            .map(|(job, sum)| json!({"Job": job, "Count": sum.count, "Bytes": sum.bytes, "Device": written(&sum.device)}))
            .collect();
        let total: u64 = sums.jobs.values().map(|sum| sum.bytes).sum();
        let device =
            device.as_ref().map(|d| json!({"Name": d.name, "Bytes": sums.device.bytes, "Requests": sums.device.requests}));
        json!({"Since": Time(sums.since).rfc3339(), "Jobs": jobs, "Bytes": total, "Device": device})
    }
}
