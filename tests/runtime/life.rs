//! The life of a container, as the other commands see it.

use super::{Bed, eventually};
use serde_json::json;
use std::process::Stdio;

#[test]
fn run_passes_output_and_status_on_and_leaves_nothing() {
    let mut bed = Bed::new("run");
    bed.script("echo out; echo err >&2; hostname; pwd; exit 7");
    bed.spec["process"]["cwd"] = json!("/made/by/us");
    let said = bed.run();
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "out\nprtiql\n/made/by/us\n", "err\n"));
    bed.nothing_left();
    bed.script("kill -9 $$; sleep 9"); // init does not hear its own signals
    bed.spec["process"]["args"] = json!(["true"]);
    assert_eq!(bed.run().code, 0);
    bed.nothing_left();
}

#[test]
fn create_start_kill_delete() {
    let mut bed = Bed::new("life");
    bed.script("trap 'exit 5' TERM; echo $$; while :; do sleep 0.05; done");
    bed.spec["annotations"] = json!({"a": "b"});
    bed.save();
    let name = bed.name.clone();
    let status =
        bed.command(&["create", "--pid-file", "pid", &name]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let state = bed.state();
    assert_eq!((&state["status"], &state["annotations"]["a"], &state["id"]), (&json!("created"), &json!("b"), &json!(name)));
    assert_eq!(std::fs::read_to_string(bed.bundle().join("pid")).unwrap(), state["pid"].to_string());
    assert!(bed.runtime(&["create", &name]).fails().contains("exists already"));
    bed.runtime(&["start", &name]).ok();
    assert_eq!(bed.state()["status"], "running");
    assert!(bed.runtime(&["start", &name]).fails().contains("already running"));
    assert!(bed.runtime(&["delete", &name]).fails().contains("not stopped"));
    assert!(bed.runtime(&["list", "-q"]).ok().contains(&name));
    assert!(bed.runtime(&["list", "-f", "json"]).ok().contains("\"running\""));
    assert!(bed.runtime(&["list"]).ok().lines().count() == 2);
    assert!(bed.runtime(&["kill", &name, "NOSUCH"]).fails().contains("unknown signal"));
    bed.exec("true").ok();
    bed.runtime(&["kill", &name]).ok();
    eventually(|| bed.state()["status"] == "stopped");
    assert_eq!(bed.state()["pid"], 0);
    assert!(bed.runtime(&["kill", &name]).fails().contains("not running"));
    assert!(bed.exec("true").fails().contains("stopped"));
    bed.runtime(&["delete", &name]).ok();
    assert!(bed.runtime(&["state", &name]).fails().contains("does not exist"));
    bed.runtime(&["delete", "-f", &name]).ok();
    bed.nothing_left();
}

#[test]
fn a_created_container_can_be_deleted_and_a_running_one_by_force() {
    let mut bed = Bed::new("force");
    bed.script("sleep 100 & sleep 100");
    bed.save();
    let name = bed.name.clone();
    assert!(bed.command(&["create", &name]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    bed.runtime(&["delete", &name]).ok();
    bed.nothing_left();
    bed.start();
    bed.runtime(&["delete", "--force", &name]).ok();
    bed.nothing_left();
}

#[test]
fn pause_and_resume() {
    let mut bed = Bed::new("pause");
    bed.script("while :; do echo x >> /n; sleep 0.02; done");
    bed.start();
    let name = bed.name.clone();
    bed.runtime(&["pause", &name]).ok();
    assert_eq!(bed.state()["status"], "paused");
    let size = || std::fs::metadata(bed.root("n")).map(|m| m.len()).unwrap_or(0);
    let before = size();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(before, size());
    assert!(bed.exec("true").fails().contains("paused"));
    assert!(bed.runtime(&["pause", &name]).fails().contains("not running"));
    bed.runtime(&["resume", &name]).ok();
    eventually(|| size() > before);
    assert!(bed.runtime(&["resume", &name]).fails().contains("not paused"));
    bed.runtime(&["pause", &name]).ok();
    bed.runtime(&["kill", &name, "KILL"]).ok();
    eventually(|| bed.state()["status"] == "stopped");
}

#[test]
fn hooks_run_in_order_and_get_the_state() {
    let mut bed = Bed::new("hooks");
    let log = bed.dir.join("log");
    let hook = |name: &str| {
        let script =
            format!("read -r state; echo \"{name} $(echo \"$state\" | grep -o '\"status\":\"[a-z]*\"')\" >> {}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    bed.spec["hooks"] = json!({"prestart": hook("prestart"), "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer"),
        "poststart": hook("poststart"), "poststop": hook("poststop"),
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /started"]}]});
    bed.script("cat /started; sleep 0.3");
    let said = bed.run().ok();
    assert!(said.contains("\"status\":\"created\"") && said.contains(&bed.name), "{said}");
    let text = std::fs::read_to_string(&log).unwrap();
    let order: Vec<&str> = text.lines().collect();
    assert_eq!(
        order,
        [
            "prestart \"status\":\"creating\"",
            "createRuntime \"status\":\"creating\"",
            "createContainer \"status\":\"creating\"",
            "poststart \"status\":\"running\"",
            "poststop \"status\":\"stopped\""
        ]
    );
    bed.spec["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]});
    let text = bed.run().fails();
    assert!(text.contains("createRuntime hook #0") && text.contains("no"), "{text}");
    bed.spec["hooks"] = json!({"prestart": [{"path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1}]});
    assert!(bed.run().fails().contains("timed out"));
    bed.nothing_left();
}

#[test]
fn bad_input_is_refused_with_a_clear_word() {
    let mut bed = Bed::new("bad");
    bed.spec["process"]["args"] = json!(["true"]);
    bed.spec["hostname"] = json!("");
    let name = bed.name.clone();
    for (change, wanted) in [
        (json!({"linux": {"namespaces": [{"type": "pid"}]}}), "mount namespace"),
        (json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}), "twice"),
        (json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "moon"}]}}), "not known"),
        (json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": "/nosuch"}]}}), "/nosuch"),
        (json!({"linux": {"namespaces": [{"type": "mount"}], "cgroupsPath": "/../x"}}), "not usable"),
        (json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}), "uidMappings"),
        (json!({"root": {"path": "nosuch"}}), "nosuch"),
        (json!({"ociVersion": "2.0"}), "ociVersion"),
        (json!({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {"kernel.panic": "1"}}}), "separate kernel namespace"),
        (json!({"process": {"args": [], "cwd": "/"}}), "args"),
        (json!({"process": {"args": ["true"], "cwd": "relative"}}), "absolute"),
        (json!({"process": {"args": ["a\u{0}b"], "cwd": "/"}}), "zero byte"),
        (
            json!({"process": {"args": ["true"], "cwd": "/", "rlimits": [{"type": "RLIMIT_MOON", "hard": 1, "soft": 1}]}}),
            "RLIMIT_MOON",
        ),
    ] {
        let mut spec = bed.spec.clone();
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        std::fs::write(bed.bundle().join("config.json"), spec.to_string()).unwrap();
        let text = bed.runtime(&["run", &name]).fails();
        assert!(text.contains(wanted), "{change}: {text}");
        bed.nothing_left();
    }
    std::fs::write(bed.bundle().join("config.json"), "{").unwrap();
    assert!(bed.runtime(&["run", &name]).fails().contains("config.json"));
    bed.save();
    for id in ["", "../x", "a/b", ".", "-"] {
        bed.runtime(&["run", "--", id]).fails();
    }
    assert!(bed.runtime(&["run", "-b", "/nosuch", &name]).fails().contains("/nosuch"));
    assert!(bed.runtime(&["fly"]).fails().contains("not a command"));
    assert!(bed.runtime(&["run", "--nosuch", &name]).fails().contains("--nosuch"));
    assert!(bed.runtime(&["features"]).ok().contains("SCMP_ARCH"));
    assert!(bed.runtime(&["--version"]).ok().contains("spec: 1."));
    assert!(bed.runtime(&["spec"]).fails().contains("exists"));
    bed.nothing_left();
}

#[test]
fn a_runtime_that_is_killed_leaves_nothing_that_delete_does_not_remove() {
    let mut bed = Bed::new("killed");
    bed.script("sleep 100");
    bed.save();
    let name = bed.name.clone();
    for delay in 0..30 {
        let mut child = bed.command(&["run", &name]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(delay * 700));
        child.kill().unwrap();
        child.wait().unwrap();
        bed.runtime(&["delete", "-f", &name]).ok();
        bed.nothing_left();
    }
}
