//! `--volume`, `--mount`, `--tmpfs`, `--device`.

use crate::base::{Context, Error, Result, size};
use crate::wire::container::{BindOptions, Device, DriverConfig, Mount, TmpfsOptions, VolumeOptions};

/// What `-v` asks for.
#[derive(Debug, PartialEq)]
pub enum Volume {
    /// `source:target[:options]`, for `Binds`.
    Bind(String),
    /// `target`, for `Volumes`.
    Anonymous(String),
}

/// Parses `-v`; a source that starts with a dot is a path from here.
pub fn volume(text: &str) -> Result<Volume> {
    let Some((source, rest)) = text.split_once(':') else {
        return if text.is_empty() {
            Err(Error::invalid("invalid empty volume spec"))
        } else {
            Ok(Volume::Anonymous(text.into()))
        };
    };
    if source.is_empty() || rest.is_empty() || rest.split(':').count() > 2 {
        return Err(Error::invalid(format!("invalid spec: {text}: empty section between colons")));
    }
    Ok(Volume::Bind(format!("{}:{rest}", absolute(source)?)))
}

fn absolute(path: &str) -> Result<String> {
    if path != "." && path != ".." && !path.starts_with("./") && !path.starts_with("../") {
        return Ok(path.into());
    }
    let here = std::env::current_dir().context(|| "find the current folder")?;
    let mut out = here;
    for part in std::path::Path::new(path).components() {
        match part {
            std::path::Component::ParentDir => _ = out.pop(),
            std::path::Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    Ok(out.to_string_lossy().into_owned())
}

/// Fields of comma-separated values, with Go's quoting of a whole field.
fn fields(text: &str) -> Result<Vec<String>> {
    let (mut out, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => out.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err(Error::invalid(format!(
            "invalid argument {text:?} for \"--mount\" flag: extraneous or missing \" in quoted-field"
        )));
    }
    out.push(field);
    Ok(out)
}

/// Parses `--mount type=…,source=…,target=…`.
pub fn mount(text: &str) -> Result<Mount> {
    let refuse = |why: String| Error::invalid(format!("invalid argument {text:?} for \"--mount\" flag: {why}"));
    let mut mount = Mount { r#type: "volume".into(), ..Mount::default() };
    let (mut bind, mut volume, mut tmpfs) = (BindOptions::default(), VolumeOptions::default(), TmpfsOptions::default());
    let mut driver = DriverConfig::default();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value),
            None => match field.to_ascii_lowercase().as_str() {
                key @ ("readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive" | "bind-create-src") => {
                    (key.to_string(), "true")
                }
                _ => return Err(refuse(format!("invalid field '{field}' must be a key=value pair"))),
            },
        };
        let truth = || match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(refuse(format!("invalid value for {key}: {value}"))),
        };
        match key.as_str() {
            "type" => mount.r#type = value.to_ascii_lowercase(),
            "source" | "src" => mount.source = value.into(),
            "target" | "dst" | "destination" => mount.target = value.into(),
            "readonly" | "ro" => mount.read_only = truth()?,
            "consistency" => mount.consistency = value.into(),
            "bind-propagation" => bind.propagation = value.into(),
            "bind-nonrecursive" => bind.non_recursive = truth()?,
            "bind-recursive" => bind.non_recursive = value == "disabled",
            "bind-create-src" => bind.create_mountpoint = truth()?,
            "volume-nocopy" => volume.no_copy = truth()?,
            "volume-label" => {
                let (k, v) = value.split_once('=').unwrap_or((value, ""));
                volume.labels.insert(k.into(), v.into());
            }
            "volume-driver" => driver.name = value.into(),
            "volume-opt" => {
                let (k, v) = value.split_once('=').unwrap_or((value, ""));
                driver.options.insert(k.into(), v.into());
            }
            "tmpfs-size" => {
                tmpfs.size_bytes = size::parse(value).map_err(|_| refuse(format!("invalid value for {key}: {value}")))? as i64
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| refuse(format!("invalid value for {key}: {value}")))?;
                tmpfs.mode = Some(mode);
            }
            _ => return Err(refuse(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if mount.target.is_empty() {
        return Err(refuse("target is required".into()));
    }
    if mount.r#type == "bind" {
        mount.source = absolute(&mount.source)?;
    }
    let set = (
        bind != BindOptions::default(),
        volume != VolumeOptions::default() || driver != DriverConfig::default(),
        tmpfs != TmpfsOptions::default(),
    );
    for (is_set, kind) in [(set.0, "bind"), (set.1, "volume"), (set.2, "tmpfs")] {
        if is_set && mount.r#type != kind {
            return Err(refuse(format!("cannot mix '{kind}-*' options with mount type '{}'", mount.r#type)));
        }
    }
    if driver != DriverConfig::default() {
        volume.driver_config = Some(driver);
    }
    mount.bind_options = set.0.then_some(bind);
    mount.volume_options = set.1.then_some(volume);
    mount.tmpfs_options = set.2.then_some(tmpfs);
    Ok(mount)
}

/// Parses `--device host[:container][:rwm]`.
pub fn device(text: &str) -> Result<Device> {
    let is_mode = |m: &str| !m.is_empty() && m.bytes().all(|b| b"rwm".contains(&b));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, mode] if is_mode(mode) => (host, host, mode),
        [host, container] => (host, container, "rwm"),
        [host, container, mode] if is_mode(mode) => (host, container, mode),
        _ => return Err(Error::invalid(format!("invalid device specification: {text}"))),
    };
    Ok(Device { path_on_host: host.into(), path_in_container: container.into(), cgroup_permissions: mode.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        assert_eq!(volume("/d").unwrap(), Volume::Anonymous("/d".into()));
        assert_eq!(volume("a:/d:ro").unwrap(), Volume::Bind("a:/d:ro".into()));
        let here = std::env::current_dir().unwrap();
        assert_eq!(volume("./x/../y:/d").unwrap(), Volume::Bind(format!("{}/y:/d", here.display())));
        assert!(volume("").is_err() && volume(":/d").is_err() && volume("a:").is_err() && volume("a:b:c:d").is_err());
    }

    #[test]
    fn mounts() {
        let m = mount("type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=1777").unwrap();
        assert_eq!(m.tmpfs_options, Some(TmpfsOptions { size_bytes: 2 << 20, mode: Some(0o1777) }));
        let m = mount("src=v,target=/x,ro,volume-nocopy,\"volume-opt=o=a,b\"").unwrap();
        assert_eq!((m.r#type.as_str(), m.source.as_str(), m.read_only), ("volume", "v", true));
        assert_eq!(m.volume_options.unwrap().driver_config.unwrap().options["o"], "a,b");
        for bad in ["type=bind", "x", "type=bind,dst=/d,tmpfs-size=1", "dst=/d,nope=1", "dst=/d,ro=maybe", "\"dst=/d"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices() {
        let shown = |text| {
            device(text)
                .map(|d| format!("{} {} {}", d.path_on_host, d.path_in_container, d.cgroup_permissions))
                .unwrap_or_default()
        };
        assert_eq!(shown("/dev/a"), "/dev/a /dev/a rwm");
        assert_eq!(shown("/dev/a:r"), "/dev/a /dev/a r");
        assert_eq!(shown("/dev/a:/dev/b:rw"), "/dev/a /dev/b rw");
        assert_eq!(shown("/dev/a:/dev/b:x"), "");
    }
}
