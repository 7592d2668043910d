//! Registry credentials in `~/.docker/config.json`, as docker keeps them, and the helpers that it may name.

use crate::base::{Context, Error, Result, base64};
use crate::cli::value::{Json, quote};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Docker Hub's key in the file.
pub const HUB: &str = "https://index.docker.io/v1/";

/// The folder of config.json: `--config`, `DOCKER_CONFIG`, or `~/.docker`.
pub fn folder(flag: &str) -> PathBuf {
    if !flag.is_empty() {
        return flag.into();
    }
    match std::env::var("DOCKER_CONFIG") {
        Ok(dir) if !dir.is_empty() => dir.into(),
        _ => Path::new(&std::env::var("HOME").unwrap_or_else(|_| "/root".into())).join(".docker"),
    }
}

/// config.json, read.
pub struct ConfigFile {
    path: PathBuf,
    /// All but the credentials.
    settings: Vec<(String, Json)>,
    /// Registry to entry.
    auths: Vec<(String, Json)>,
}

impl ConfigFile {
    /// Reads it; a file that is not there is an empty one.
    pub fn load(folder: &Path) -> Result<ConfigFile> {
        let path = folder.join("config.json");
        let json = match std::fs::read(&path) {
            Ok(text) => Json::parse(&text).map_err(|e| e.context(format!("read {}", path.display())))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Json::Obj(Vec::new()),
            Err(e) => return Err(e).context(|| format!("read {}", path.display())),
        };
        let (mut settings, mut auths) = (Vec::new(), Vec::new());
        if let Json::Obj(fields) = json {
            for (key, value) in fields {
                match (key.as_str(), value) {
                    ("auths", Json::Obj(entries)) => auths = entries,
                    ("auths", _) => {}
                    (_, value) => settings.push((key, value)),
                }
            }
        }
        Ok(ConfigFile { path, settings, auths })
    }

    /// A setting that is a string, such as `detachKeys`.
    pub fn setting(&self, name: &str) -> &str {
        self.field(name).str()
    }

    fn field(&self, name: &str) -> &Json {
        self.settings.iter().find(|(key, _)| key == name).map_or(&Json::Null, |(_, value)| value)
    }

    /// The `X-Registry-Auth` header for a registry: base64 of JSON; empty if there are no credentials.
    pub fn header(&self, registry: &str) -> Result<String> {
        Ok(self.entry(registry)?.map(|text| base64::encode_url(text.as_bytes())).unwrap_or_default())
    }

    /// Docker's JSON of one registry's credentials.
    fn entry(&self, registry: &str) -> Result<Option<String>> {
        let Some((user, secret)) = self.credentials(registry)? else { return Ok(None) };
        let mut text = String::from("{\"username\":");
        if user == "<token>" {
            text = "{\"identitytoken\":".into();
        } else {
            quote(&mut text, &user);
            text.push_str(",\"password\":");
        }
        quote(&mut text, &secret);
        text.push_str(",\"serveraddress\":");
        quote(&mut text, registry);
        text.push('}');
        Ok(Some(text))
    }

    /// The `X-Registry-Config` header: the credentials of every registry that the file names; empty if there are none.
    pub fn header_of_all(&self) -> Result<String> {
        let mut text = String::new();
        for (registry, _) in &self.auths {
            let Some(entry) = self.entry(registry)? else { continue };
            text.push(if text.is_empty() { '{' } else { ',' });
            quote(&mut text, registry);
            text.push(':');
            text.push_str(&entry);
        }
        if text.is_empty() {
            return Ok(text);
        }
        text.push('}');
        Ok(base64::encode_url(text.as_bytes()))
    }

    /// User and password (or `<token>` and an identity token).
    pub fn credentials(&self, registry: &str) -> Result<Option<(String, String)>> {
        let helper = match self.field("credHelpers").get(registry).str() {
            "" => self.setting("credsStore"),
            name => name,
        };
        if !helper.is_empty() {
            return ask_helper(helper, registry);
        }
        let same = |key: &str| key == registry || (registry != HUB && host_of(key) == host_of(registry));
        let Some((_, entry)) = self.auths.iter().find(|(key, _)| same(key)) else { return Ok(None) };
        if !entry.get("identitytoken").str().is_empty() {
            return Ok(Some(("<token>".into(), entry.get("identitytoken").str().into())));
        }
        let auth = entry.get("auth").str();
        if auth.is_empty() {
            let (user, password) = (entry.get("username").str(), entry.get("password").str());
            return Ok(if user.is_empty() { None } else { Some((user.into(), password.into())) });
        }
        let bad = || Error::invalid(format!("{}: the auth entry of {registry} is malformed", self.path.display()));
        let plain = String::from_utf8(base64::decode(auth).ok_or_else(bad)?).map_err(|_| bad())?;
        let (user, password) = plain.split_once(':').ok_or_else(bad)?;
        Ok(Some((user.into(), password.trim_end_matches('\0').into())))
    }

    /// Stores credentials.
    pub fn store(&mut self, registry: &str, user: &str, secret: &str, is_token: bool) -> Result<()> {
        let entry = match is_token {
            true => vec![
                ("auth".into(), Json::from(base64::encode(format!("{user}:").as_bytes()))),
                ("identitytoken".into(), secret.into()),
            ],
            false => vec![("auth".into(), Json::from(base64::encode(format!("{user}:{secret}").as_bytes())))],
        };
        self.auths.retain(|(key, _)| key != registry);
        self.auths.push((registry.into(), Json::Obj(entry)));
        self.save()
    }

    /// Removes credentials; false if there were none.
    pub fn erase(&mut self, registry: &str) -> Result<bool> {
        let before = self.auths.len();
        self.auths.retain(|(key, _)| key != registry);
        let found = self.auths.len() < before;
        if found {
            self.save()?;
        }
        Ok(found)
    }

    /// Whole or not at all, readable by the owner only.
    fn save(&self) -> Result<()> {
        let doing = || format!("write {}", self.path.display());
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).context(doing)?;
        }
        let new = self.path.with_extension("json.new");
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).context(doing)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).context(doing)?;
        let all = Json::Obj([vec![("auths".to_string(), Json::Obj(self.auths.clone()))], self.settings.clone()].concat());
        file.write_all(all.pretty().replace("    ", "\t").as_bytes()).context(doing)?;
        std::fs::rename(&new, &self.path).context(doing)
    }
}

/// The registry that a reference names: its key in config.json.
pub fn registry_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => match host {
            "docker.io" | "index.docker.io" | "registry-1.docker.io" => HUB,
            host => host,
        },
        _ => HUB,
    }
}

fn host_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or(key)
}

fn ask_helper(helper: &str, registry: &str) -> Result<Option<(String, String)>> {
    let program = format!("docker-credential-{helper}");
    let doing = || format!("run {program}");
    let mut child = Command::new(&program).arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context(doing)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(registry.as_bytes()).context(doing)?;
    }
    let output = child.wait_with_output().context(doing)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(Error::internal(format!("error getting credentials: {program}: {}", text.trim()))),
        };
    }
    let json = Json::parse(&output.stdout).map_err(|e| e.context(program.clone()))?;
    Ok(Some((json.get("Username").str().into(), json.get("Secret").str().into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries() {
        assert_eq!(registry_of("busybox"), HUB);
        assert_eq!(registry_of("library/busybox:1"), HUB);
        assert_eq!(registry_of("docker.io/x"), HUB);
        assert_eq!(registry_of("127.0.0.1:5000/x/y"), "127.0.0.1:5000");
        assert_eq!(registry_of("localhost/x"), "localhost");
    }

    #[test]
    fn the_file_keeps_what_it_does_not_know() {
        let dir = std::env::temp_dir().join(format!("prtiql-auth-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), r#"{"detachKeys":"ctrl-x","auths":{"a.b":{"auth":"dTpw"}}}"#).unwrap();
        let mut file = ConfigFile::load(&dir).unwrap();
        assert_eq!(file.credentials("a.b").unwrap(), Some(("u".into(), "p".into())));
        file.store("c.d:1", "me", "s3:cret", false).unwrap();
        let mut file = ConfigFile::load(&dir).unwrap();
        assert_eq!(file.setting("detachKeys"), "ctrl-x");
        assert_eq!(file.credentials("c.d:1").unwrap(), Some(("me".into(), "s3:cret".into())));
        assert!(file.header_of_all().unwrap().len() > file.header("c.d:1").unwrap().len());
        assert!(file.header("c.d:1").unwrap().len() > 20 && file.header("none").unwrap().is_empty());
        assert!(file.erase("a.b").unwrap() && !file.erase("a.b").unwrap());
        assert_eq!(std::fs::metadata(dir.join("config.json")).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
