//! Volumes of the local driver: folders below volumes/, or file systems by `type`, `device` and `o`.

use crate::base::time::Time;
use crate::base::{Error, Result, id};
use crate::engine::Engine;
use crate::wire::commit::Change;
use crate::wire::container::Labels;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A volume; `volume.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Time,
    /// Labels.
    pub labels: Labels,
    /// Options of the local driver.
    pub options: Labels,
    /// Made for one container, without a name of its own.
    pub anonymous: bool,
}

/// All volumes.
#[derive(Default)]
pub struct Volumes {
    /// By name.
    pub by_name: BTreeMap<String, Volume>,
}

impl Engine {
    /// The folder that containers see.
    pub fn volume_path(&self, name: &str) -> String {
        format!("{}/volumes/{name}/_data", self.root.path().display())
    }

    /// Makes a volume, or finds the one that has the name. An empty name gets 64 digits.
    pub fn make_volume(&mut self, name: &str, labels: Labels, options: Labels) -> Result<Volume> {
        if let Some(volume) = self.volumes.by_name.get(name) {
            return Ok(volume.clone());
        }
        if !name.is_empty() && (!id::is_name(name) || name.len() < 2) {
            return Err(Error::invalid(format!(
                "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
                 \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            )));
        }
        check_options(&options)?;
        let anonymous = name.is_empty();
        let name = if anonymous { id::random() } else { name.to_string() };
        let volume = Volume { name: name.clone(), created: Time::now(), labels, options, anonymous };
        self.committer.change(Change::Folder { path: format!("volumes/{name}/_data"), mode: 0o755 });
        self.committer.write(format!("volumes/{name}/volume.json"), serde_json::to_string(&volume)?);
        self.volumes.by_name.insert(name.clone(), volume.clone());
        self.emit("volume", "create", &name, vec![("driver".into(), "local".into())]);
        Ok(volume)
    }

    /// Containers that mount it.
    pub fn volume_users(&self, name: &str) -> Vec<String> {
        self.containers
            .all()
            .filter(|c| c.def.mounts.iter().any(|m| m.r#type == "volume" && m.name == name))
            .map(|c| c.id.clone())
            .collect()
    }

    /// `DELETE /volumes/{name}`.
    pub fn remove_volume(&mut self, name: &str, force: bool) -> Result<()> {
        if !self.volumes.by_name.contains_key(name) {
            return if force { Ok(()) } else { Err(Error::not_found(format!("get {name}: no such volume"))) };
        }
        let users = self.volume_users(name);
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        self.volumes.by_name.remove(name);
        self.committer.change(Change::Trash { path: format!("volumes/{name}") });
        self.emit("volume", "destroy", name, vec![("driver".into(), "local".into())]);
        self.empty_trash_soon();
        Ok(())
    }
}

fn check_options(options: &Labels) -> Result<()> {
    if let Some(unknown) = options.keys().find(|k| !matches!(k.as_str(), "type" | "device" | "o" | "size")) {
        return Err(Error::invalid(format!("invalid option: \"{unknown}\"")));
    }
    if options.contains_key("size") {
        return Err(Error::invalid("quota size requested but no quota support"));
    }
    let has = |key: &str| options.get(key).is_some_and(|v| !v.is_empty());
    if (has("type") || has("o")) && !has("device") {
        return Err(Error::invalid("missing required option: \"device\""));
    }
    Ok(())
}
