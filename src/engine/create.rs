//! `POST /containers/create`: validates, fills in, allocates, and makes it durable.

use crate::base::time::Time;
use crate::base::{Error, Result, id};
use crate::engine::container::{Container, Definition};
use crate::engine::{Engine, limits, names};
use crate::image::Digest;
use crate::wire::container::{Config, Create, Endpoint};
use std::collections::BTreeMap;

/// Format of a container's config.json.
const VERSION: u32 = 1;

/// What create answers.
pub struct Created {
    /// The container's ID.
    pub id: String,
    /// What was asked for and will not be.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Creates a container; its definition is part of this turn's batch of changes.
    pub fn create(&mut self, name: &str, request: Create, platform: &str) -> Result<Created> {
        let Create { mut config, host_config: mut host, networking_config } = request;
        if config.image.is_empty() && config.cmd.is_none() && config.entrypoint.is_none() {
            return Err(Error::invalid("Config cannot be empty in order to create a container"));
        }
        let name = self.reserve_name(name)?;
        let image = self.images.find(&config.image)?.clone();
        let parsed = image.parsed();
        if !platform.is_empty() {
            let wanted = crate::image::Platform::parse(platform, &self.host.platform)?;
            if wanted.rank(&parsed.platform()).is_none() {
                return Err(Error::not_found(format!(
                    "image with reference {} was found but does not match the specified platform: wanted {platform}, actual: {}",
                    config.image,
                    parsed.platform()
                )));
            }
        }
        merge(&mut config, parsed.config.as_ref());
        if config.cmd.as_ref().is_none_or(Vec::is_empty) && config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("no command specified"));
        }
        limits::defaults(&mut host, &self.settings, &self.host)?;
        limits::check(&config, &host, &self.host)?;
        let warnings = self.warnings(&parsed.platform());
        let id = id::random();
        if config.hostname.is_empty() && host.network_mode != "host" && host.uts_mode != "host" {
            config.hostname = id[..12].to_string();
        }
        let networks = self.requested_networks(&host.network_mode, networking_config.endpoints_config)?;
        let mut def = Definition {
            version: VERSION,
            id: id.clone(),
            name,
            created: Time::now(),
            image: image.id_text(),
            layers: image.layers.iter().map(Digest::to_string).collect(),
            config,
            host,
            networks,
            ..Definition::default()
        };
        self.resolve_mounts(&mut def)?;
        self.save_definition(&def)?;
        self.unborn.push((self.committer.barrier(), id.clone()));
        let number = self.number();
        self.containers.insert(Container::new(def, image.id, number));
        self.emit_container("create", &id, &[]);
        Ok(Created { id, warnings })
    }

    fn reserve_name(&self, asked: &str) -> Result<String> {
        let asked = asked.strip_prefix('/').unwrap_or(asked);
        if asked.is_empty() {
            return Ok(names::generate(|n| self.containers.named(n).is_some()));
        }
        self.check_name(asked)?;
        Ok(asked.to_string())
    }

    /// Refuses a malformed or taken name.
    pub fn check_name(&self, name: &str) -> Result<()> {
        if !id::is_name(name) || name.len() < 2 {
            return Err(Error::invalid(format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")));
        }
        match self.containers.named(name) {
            Some(id) => Err(Error::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". You have to remove (or rename) \
                 that container to be able to reuse that name."
            ))),
            None => Ok(()),
        }
    }

    fn warnings(&self, platform: &crate::image::Platform) -> Vec<String> {
        let mut warnings = Vec::new();
        let host = &self.host.platform;
        if !platform.architecture.is_empty() && host.rank(platform).is_none() {
            warnings.push(format!(
                "The requested image's platform ({platform}) does not match the detected host platform ({host}) and no specific platform was requested"
            ));
        }
        warnings
    }

    fn requested_networks(&self, mode: &str, asked: BTreeMap<String, Option<Endpoint>>) -> Result<BTreeMap<String, Endpoint>> {
        let mode = match mode {
            "default" | "" => "bridge",
            mode => mode,
        };
        let mut networks = BTreeMap::new();
        if mode.starts_with("container:") {
            if !asked.is_empty() {
                return Err(Error::conflict("conflicting options: cannot attach both user-defined and container network modes"));
            }
            return Ok(networks);
        }
        for (name, endpoint) in asked {
            let name = if name == "default" { "bridge".to_string() } else { name };
            networks.insert(name, endpoint.unwrap_or_default());
        }
        networks.entry(mode.to_string()).or_default();
        Ok(networks)
    }

    /// Writes `config.json`: to the data root, or to the exec root for a container that goes when it ends.
    pub fn save_definition(&mut self, def: &Definition) -> Result<()> {
        let text = serde_json::to_string(def)?;
        if def.host.auto_remove {
            let dir = self.run_dir(&def.id);
            std::fs::create_dir_all(&dir)?;
            std::fs::write(format!("{dir}/config.json"), text)?;
        } else {
            self.committer.write(format!("containers/{}/config.json", def.id), text);
        }
        Ok(())
    }

    /// `<exec-root>/containers/<id>`.
    pub fn run_dir(&self, id: &str) -> String {
        format!("{}/containers/{id}", self.settings.exec_root)
    }

    /// An event about a container, with Docker's attributes.
    pub fn emit_container(&mut self, action: &str, id: &str, extra: &[(&str, String)]) {
        let Some(c) = self.containers.get(id) else { return };
        let mut attributes: Vec<(String, String)> = c.def.config.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        attributes.push(("image".into(), c.def.config.image.clone()));
        attributes.push(("name".into(), c.def.name.clone()));
        attributes.extend(extra.iter().map(|(k, v)| (k.to_string(), v.clone())));
        self.emit("container", action, id, attributes);
    }
}

/// Takes over from the image what the request leaves open (moby's rules).
fn merge(config: &mut Config, image: Option<&Config>) {
    let Some(image) = image else { return };
    if config.user.is_empty() {
        config.user = image.user.clone();
    }
    for (port, _) in image.exposed_ports.iter().flatten() {
        config.exposed_ports.get_or_insert_default().entry(port.clone()).or_default();
    }
    let env = config.env.get_or_insert_default();
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_string();
    for entry in image.env.iter().flatten() {
        if !env.iter().any(|own| key(own) == key(entry)) {
            env.push(entry.clone());
        }
    }
    for (k, v) in &image.labels {
        config.labels.entry(k.clone()).or_insert_with(|| v.clone());
    }
    let empty = |words: &Option<Vec<String>>| words.as_ref().is_none_or(Vec::is_empty);
    // `--entrypoint ""` arrives as [""]: it clears the image's entrypoint.
    let cleared = config.entrypoint.as_ref().is_some_and(|e| e.len() == 1 && e[0].is_empty());
    if cleared {
        config.entrypoint = None;
    } else if empty(&config.entrypoint) {
        if empty(&config.cmd) {
            config.cmd = image.cmd.clone();
        }
        if config.entrypoint.is_none() {
            config.entrypoint = image.entrypoint.clone();
        }
    }
    match (&mut config.healthcheck, &image.healthcheck) {
        (None, theirs) => config.healthcheck = theirs.clone(),
        (Some(own), Some(theirs)) => {
            if own.test.as_ref().is_none_or(Vec::is_empty) {
                own.test = theirs.test.clone();
            }
            for (mine, other) in [
                (&mut own.interval, theirs.interval),
                (&mut own.timeout, theirs.timeout),
                (&mut own.start_period, theirs.start_period),
                (&mut own.retries, theirs.retries),
            ] {
                if *mine == 0 {
                    *mine = other;
                }
            }
        }
        (Some(_), None) => {}
    }
    if config.working_dir.is_empty() {
        config.working_dir = image.working_dir.clone();
    }
    for (path, _) in image.volumes.iter().flatten() {
        config.volumes.get_or_insert_default().entry(path.clone()).or_default();
    }
    if config.stop_signal.as_deref().unwrap_or_default().is_empty() {
        config.stop_signal = image.stop_signal.clone();
    }
    if config.shell.is_none() {
        config.shell = image.shell.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_wins_over_the_image() {
        let words = |text: &str| Some(text.split(' ').map(String::from).collect::<Vec<_>>());
        let image =
            Config { cmd: words("sh"), entrypoint: words("/entry"), env: words("PATH=/bin A=image"), ..Config::default() };
        let mut own = Config { env: words("A=own"), ..Config::default() };
        merge(&mut own, Some(&image));
        assert_eq!((own.cmd, own.entrypoint, own.env), (words("sh"), words("/entry"), words("A=own PATH=/bin")));
        let mut own = Config { entrypoint: words("/bin/echo"), ..Config::default() };
        merge(&mut own, Some(&image));
        assert_eq!((own.cmd, own.entrypoint), (None, words("/bin/echo")));
        let mut own = Config { entrypoint: Some(vec![String::new()]), cmd: words("a b"), ..Config::default() };
        merge(&mut own, Some(&image));
        assert_eq!((own.cmd, own.entrypoint), (words("a b"), None));
    }
}
