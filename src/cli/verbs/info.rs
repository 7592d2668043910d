//! `info`.

use crate::base::{Result, size};
use crate::cli::Cx;
use crate::cli::http::Query;
use crate::cli::output::{object, say};
use crate::cli::value::Json;
use argh::{ArgsInfo, FromArgs};
use std::fmt::Write;

/// display system-wide information
#[derive(FromArgs, ArgsInfo)]
pub struct Info {
    /// format output using a custom template: 'json' or a Go template
    #[argh(option, short = 'f', default = "String::new()")]
    format: String,
}

/// Prints what the engine says of itself and its machine.
pub fn info(cx: &Cx, args: Info) -> Result<i32> {
    let info = cx.client.get("/info", &Query::new())?;
    if !args.format.is_empty() {
        return object(&args.format, &info).map(|()| 0);
    }
    let warnings: Vec<&str> = info.get("Warnings").items().iter().map(Json::str).collect();
    say(&text(&info))?;
    warnings.iter().for_each(|w| eprintln!("{w}"));
    Ok(0)
}

fn text(info: &Json) -> String {
    let mut out =
        format!("Client:\n Version:    {}\n Context:    default\n Debug Mode: false\n\nServer:\n", env!("CARGO_PKG_VERSION"));
    let s = |key: &str| info.get(key).str();
    let n = |key: &str| info.get(key).int();
    _ = write!(
        out,
        " Containers: {}\n  Running: {}\n  Paused: {}\n  Stopped: {}\n Images: {}\n Server Version: {}\n Storage Driver: {}\n",
        n("Containers"),
        n("ContainersRunning"),
        n("ContainersPaused"),
        n("ContainersStopped"),
        n("Images"),
        s("ServerVersion"),
        s("Driver")
    );
    for pair in info.get("DriverStatus").items() {
        if let [key, value] = pair.items() {
            _ = writeln!(out, "  {}: {}", key.str(), value.str());
        }
    }
    let list = |items: &Json| items.items().iter().map(Json::str).collect::<Vec<_>>().join(" ");
    for (label, value) in
        [("Logging Driver", s("LoggingDriver")), ("Cgroup Driver", s("CgroupDriver")), ("Cgroup Version", s("CgroupVersion"))]
    {
        if !value.is_empty() {
            _ = writeln!(out, " {label}: {value}");
        }
    }
    let plugins = info.get("Plugins");
    out.push_str(" Plugins:\n");
    for (label, key) in [("Volume", "Volume"), ("Network", "Network"), ("Authorization", "Authorization"), ("Log", "Log")] {
        let names = list(plugins.get(key));
        if !names.is_empty() {
            _ = writeln!(out, "  {label}: {names}");
        }
    }
    let runtimes: Vec<&str> = info.get("Runtimes").fields().iter().map(|(name, _)| name.as_str()).collect();
    _ = write!(
        out,
        " Runtimes: {}\n Default Runtime: {}\n Init Binary: {}\n",
        runtimes.join(" "),
        s("DefaultRuntime"),
        s("InitBinary")
    );
    if !info.get("SecurityOptions").items().is_empty() {
        out.push_str(" Security Options:\n");
        for option in info.get("SecurityOptions").items() {
            for part in option.str().split(',') {
                match part.split_once('=') {
                    Some(("name", name)) => _ = writeln!(out, "  {name}"),
                    Some((key, value)) => _ = writeln!(out, "   {}: {value}", if key == "profile" { "Profile" } else { key }),
                    None => _ = writeln!(out, "  {part}"),
                }
            }
        }
    }
    _ = write!(
        out,
        " Kernel Version: {}\n Operating System: {}\n OSType: {}\n Architecture: {}\n CPUs: {}\n Total Memory: {}\n Name: {}\n ID: {}\n Docker Root Dir: {}\n Debug Mode: {}\n",
        s("KernelVersion"),
        s("OperatingSystem"),
        s("OSType"),
        s("Architecture"),
        n("NCPU"),
        size::human_binary(n("MemTotal").max(0) as u64),
        s("Name"),
        s("ID"),
        s("DockerRootDir"),
        info.get("Debug").is_true()
    );
    for (label, key) in [("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")] {
        if !s(key).is_empty() {
            _ = writeln!(out, " {label}: {}", s(key));
        }
    }
    if !info.get("Labels").items().is_empty() {
        out.push_str(" Labels:\n");
        info.get("Labels").items().iter().for_each(|l| _ = writeln!(out, "  {}", l.str()));
    }
    _ = writeln!(out, " Experimental: {}", info.get("ExperimentalBuild").is_true());
    let registry = info.get("RegistryConfig");
    let mut insecure: Vec<&str> = registry
        .get("IndexConfigs")
        .fields()
        .iter()
        .filter(|(_, v)| v.get("Secure") == &Json::Bool(false))
        .map(|(k, _)| k.as_str())
        .collect();
    insecure.extend(registry.get("InsecureRegistryCIDRs").items().iter().map(Json::str));
    if !insecure.is_empty() {
        _ = writeln!(out, " Insecure Registries:\n  {}", insecure.join("\n  "));
    }
    let mirrors = list(registry.get("Mirrors"));
    if !mirrors.is_empty() {
        _ = writeln!(out, " Registry Mirrors:\n  {}", mirrors.replace(' ', "\n  "));
    }
    _ = writeln!(out, " Live Restore Enabled: {}", info.get("LiveRestoreEnabled").is_true());
    out
}
