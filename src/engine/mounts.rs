//! Resolves what a container mounts: binds, named and anonymous volumes, tmpfs, volumes of other containers.

use crate::base::{Error, Result, id};
use crate::engine::Engine;
use crate::engine::container::Definition;
use crate::wire::container::{Labels, Mount, MountPoint};
use crate::wire::shim::VolumeMount;

/// A bind in Docker's short form, taken apart.
struct Bind<'a> {
    source: &'a str,
    target: &'a str,
    options: Vec<&'a str>,
}

fn parse_bind(spec: &str) -> Result<Bind<'_>> {
    let bad = || Error::invalid(format!("invalid volume specification: '{spec}'"));
    let parts: Vec<&str> = spec.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(bad()),
    };
    if !target.starts_with('/') {
        return Err(bad().context(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if normal(target) == "/" {
        return Err(Error::invalid(format!("invalid volume specification: '{spec}': destination can't be '/'")));
    }
    let options: Vec<&str> = mode.split(',').filter(|o| !o.is_empty()).collect();
    let known = ["ro", "rw", "z", "Z", "nocopy", "copy", "consistent", "cached", "delegated"];
    let propagation = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];
    if options.iter().any(|o| !known.contains(o) && !propagation.contains(o))
        || (options.contains(&"ro") && options.contains(&"rw"))
    {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    Ok(Bind { source, target, options })
}

/// A path without doubled or trailing slashes, `.` or `..`.
pub fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Engine {
    /// Fills in `mounts` and what goes with it; makes the volumes that are missing.
    pub fn resolve_mounts(&mut self, def: &mut Definition) -> Result<()> {
        for from in def.host.volumes_from.clone().into_iter().flatten() {
            self.mounts_from(def, &from)?;
        }
        for spec in def.host.binds.clone().into_iter().flatten() {
            self.bind(def, &spec)?;
        }
        for mount in def.host.mounts.clone().into_iter().flatten() {
            self.mount(def, &mount)?;
        }
        let anonymous: Vec<String> = def.config.volumes.iter().flatten().map(|(path, _)| normal(path)).collect();
        for target in anonymous {
            let tmpfs = def.host.tmpfs.iter().flatten().any(|(path, _)| normal(path) == target);
            if !tmpfs && !def.mounts.iter().any(|m| m.destination == target) {
                self.volume(def, "", &target, true, true, Labels::new(), Labels::new())?;
            }
        }
        Ok(())
    }

    fn bind(&mut self, def: &mut Definition, spec: &str) -> Result<()> {
        let bind = parse_bind(spec)?;
        let writable = !bind.options.contains(&"ro");
        let target = normal(bind.target);
        if !bind.source.starts_with('/') {
            let copy = !bind.options.contains(&"nocopy");
            return self.volume(def, bind.source, &target, writable, copy, Labels::new(), Labels::new());
        }
        let propagation = bind.options.iter().find(|o| o.contains("shared") || o.contains("slave") || o.contains("private"));
        let source = normal(bind.source);
        def.make_sources.push(source.clone());
        self.place(
            def,
            MountPoint {
                r#type: "bind".into(),
                source,
                destination: target,
                mode: bind.options.join(","),
                rw: writable,
                propagation: propagation.unwrap_or(&"rprivate").to_string(),
                ..MountPoint::default()
            },
        )
    }

    fn mount(&mut self, def: &mut Definition, mount: &Mount) -> Result<()> {
        let bad = |why: String| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.r#type));
        if mount.target.is_empty() {
            return Err(bad("field Target must not be empty".into()));
        }
        if !mount.target.starts_with('/') {
            return Err(bad(format!("invalid mount path: '{}' mount path must be absolute", mount.target)));
        }
        let target = normal(&mount.target);
        if target == "/" {
            return Err(bad("invalid specification: destination can't be '/'".into()));
        }
        match mount.r#type.as_str() {
            "bind" => {
                if !mount.source.starts_with('/') {
                    return Err(bad(format!("invalid mount path: '{}' mount path must be absolute", mount.source)));
                }
                let options = mount.bind_options.clone().unwrap_or_default();
                if options.create_mountpoint {
                    def.make_sources.push(normal(&mount.source));
                }
                let propagation = if options.propagation.is_empty() { "rprivate".to_string() } else { options.propagation };
                let source = normal(&mount.source);
                let rw = !mount.read_only;
                self.place(
                    def,
                    MountPoint { r#type: "bind".into(), source, destination: target, rw, propagation, ..MountPoint::default() },
                )
            }
            "volume" => {
                let options = mount.volume_options.clone().unwrap_or_default();
                let driver = options.driver_config.unwrap_or_default();
                if !matches!(driver.name.as_str(), "" | "local") {
                    return Err(Error::not_found(format!("plugin \"{}\" not found", driver.name)));
                }
                self.volume(def, &mount.source, &target, !mount.read_only, !options.no_copy, options.labels, driver.options)
            }
            "tmpfs" => {
                if !mount.source.is_empty() {
                    return Err(bad("field Source must not be specified".into()));
                }
                let rw = !mount.read_only;
                self.place(def, MountPoint { r#type: "tmpfs".into(), destination: target, rw, ..MountPoint::default() })
            }
            other => Err(Error::invalid(format!("invalid mount config for type \"{other}\": mount type unknown"))),
        }
    }

    fn mounts_from(&mut self, def: &mut Definition, spec: &str) -> Result<()> {
        let (name, mode) = spec.split_once(':').unwrap_or((spec, ""));
        if !matches!(mode, "" | "ro" | "rw" | "z" | "Z") {
            return Err(Error::invalid(format!("invalid mode: {mode}")));
        }
        let other = self.containers.lookup(name)?;
        let (mounts, volumes) = (other.def.mounts.clone(), other.def.volume_mounts.clone());
        for mut mount in mounts.into_iter().filter(|m| m.r#type != "tmpfs") {
            mount.rw &= mode != "ro";
            def.volume_mounts.extend(volumes.iter().filter(|v| v.destination == mount.destination).cloned());
            self.place(def, mount)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn volume(
        &mut self,
        def: &mut Definition,
        name: &str,
        target: &str,
        writable: bool,
        copy: bool,
        labels: Labels,
        options: Labels,
    ) -> Result<()> {
        if !name.is_empty() && !id::is_name(name) {
            return Err(Error::invalid(format!(
                "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
                 \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            )));
        }
        let volume = self.make_volume(name, labels, options)?;
        if volume.anonymous {
            def.anonymous.push(volume.name.clone());
        }
        let option = |key: &str| volume.options.get(key).cloned().unwrap_or_default();
        if !option("device").is_empty() {
            def.volume_mounts.push(VolumeMount {
                destination: target.to_string(),
                fstype: option("type"),
                device: option("device"),
                options: option("o"),
                read_only: !writable,
            });
        }
        if copy {
            def.copy_up.push(target.to_string());
        }
        let source = self.volume_path(&volume.name);
        self.place(
            def,
            MountPoint {
                r#type: "volume".into(),
                name: volume.name,
                source,
                destination: target.to_string(),
                driver: "local".into(),
                mode: if writable { String::new() } else { "ro".into() },
                rw: writable,
                propagation: String::new(),
            },
        )
    }

    /// The last one for a destination wins over one that came from another container; twice in one request is an error.
    fn place(&mut self, def: &mut Definition, mount: MountPoint) -> Result<()> {
        let own = |m: &MountPoint| {
            def.host.binds.iter().flatten().filter(|b| parse_bind(b).is_ok_and(|b| normal(b.target) == m.destination)).count()
                + def.host.mounts.iter().flatten().filter(|o| normal(&o.target) == m.destination).count()
        };
        if own(&mount) > 1 {
            return Err(Error::invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        def.mounts.retain(|m| m.destination != mount.destination);
        def.mounts.push(mount);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_in_dockers_forms() {
        let b = parse_bind("/a:/b:ro,rslave").unwrap();
        assert_eq!((b.source, b.target, b.options), ("/a", "/b", vec!["ro", "rslave"]));
        assert_eq!(parse_bind("/only").unwrap().source, "");
        for bad in ["a:b", "/a:rel", "/a:/b:bogus", "/a:/", "/a:/b:c:d", "/a:/b:ro,rw"] {
            assert!(parse_bind(bad).is_err(), "{bad}");
        }
        assert_eq!(normal("//a/./b/../c/"), "/a/c");
    }
}
