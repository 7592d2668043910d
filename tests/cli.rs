//! The command line as a whole, against a daemon made of canned answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// Answers each request by the first pair whose text its first line contains; keeps the first lines and bodies.
struct Daemon {
    socket: PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn start(name: &str, answers: &'static [(&'static str, &'static str)]) -> Daemon {
        let socket = std::env::temp_dir().join(format!("prtiql-cli-{}-{name}.sock", std::process::id()));
        _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), answers, &log);
            }
        });
        Daemon { socket, seen }
    }

    fn run(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_prtiql"))
            .args(args)
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_CONFIG", "/nonexistent")
            .env_remove("PRTIQL_HOST")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Requests that contain the text.
    fn requests(&self, text: &str) -> Vec<String> {
        self.seen.lock().unwrap().iter().filter(|r| r.contains(text)).cloned().collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.socket);
    }
}

fn serve(mut stream: UnixStream, answers: &[(&str, &str)], log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(n) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    log.lock().unwrap().push(format!("{}{}", first, String::from_utf8_lossy(&body)));
    let answer = answers
        .iter()
        .find(|(text, _)| first.contains(text))
        .map_or("404 Not Found\n{\"message\":\"page not found\"}", |(_, a)| a);
    let (status, body) = answer.split_once('\n').unwrap_or((answer, ""));
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    if status.starts_with("101") {
        // raw from here on: everything at once, then the end
        _ = stream.write_all(format!("HTTP/1.1 101 UPGRADED\r\n\r\n{body}").as_bytes());
        return;
    }
    _ = stream.write_all((head + body).as_bytes());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(output: &Output, status: i32, out: &str, err: &str) {
    assert!(text(&output.stdout).contains(out), "stdout: {}", text(&output.stdout));
    assert!(text(&output.stderr).contains(err), "stderr: {}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "stderr: {}", text(&output.stderr));
}

#[test]
fn words_that_no_daemon_is_asked_for() {
    let none = Daemon { socket: "/nonexistent/socket".into(), seen: Arc::default() };
    check(&none.run(&["--help"], ""), 0, "Usage:  prtiql [OPTIONS] COMMAND", "");
    check(&none.run(&["run", "--help"], ""), 0, "Create and run a new container from an image", "");
    check(&none.run(&["volume"], ""), 0, "Manage volumes", "");
    check(&none.run(&["--version"], ""), 0, "prtiql version ", "");
    check(&none.run(&["nonsense"], ""), 1, "", "prtiql: 'nonsense' is not a prtiql command.\nSee 'prtiql --help'");
    check(&none.run(&["volume", "nonsense"], ""), 1, "", "'nonsense' is not a prtiql volume command");
    check(&none.run(&["run", "--nope", "x"], ""), 125, "", "unknown flag: --nope\nSee 'prtiql run --help'.");
    check(&none.run(&["ps", "x"], ""), 1, "", "\"prtiql ps\" accepts no arguments.");
    check(&none.run(&["rename", "x"], ""), 1, "", "\"prtiql rename\" requires exactly 2 arguments.");
    check(&none.run(&["run", "--cpu-shares", "x", "img"], ""), 1, "", "invalid argument \"x\" for \"--cpu-shares\" flag");
    check(&none.run(&["swarm", "init"], ""), 1, "", "swarm is not part of this engine");
    check(
        &none.run(&["ps"], ""),
        1,
        "",
        "Cannot connect to the Docker daemon at unix:///nonexistent/socket. Is the docker daemon running?",
    );
    check(&none.run(&["-H", "ssh://x", "ps"], ""), 1, "", "cannot connect by ssh://");
}

#[test]
fn run_attaches_waits_and_gives_the_exit_status() {
    const OUT: &str = "101 UPGRADED\n\u{1}\0\0\0\0\0\0\u{3}out\u{2}\0\0\0\0\0\0\u{3}err";
    let daemon = Daemon::start(
        "run",
        &[
            ("containers/create", "201 Created\n{\"Id\":\"abc\",\"Warnings\":[\"careful\"]}"),
            ("/attach", OUT),
            ("/wait", "200 OK\n{\"StatusCode\":7}"),
            ("/start", "204 No Content"),
        ],
    );
    let output = daemon.run(&["run", "--rm", "-e", "A=b", "-p8080:80", "--name=n", "busybox", "sh", "-c", "x", "--help"], "");
    check(&output, 7, "out", "WARNING: careful\n");
    check(&output, 7, "", "err");
    let create = daemon.requests("containers/create").pop().unwrap();
    assert!(create.starts_with("POST /v1.44/containers/create?name=n "), "{create}");
    for part in [
        r#""Cmd":["sh","-c","x","--help"]"#,
        r#""Env":["A=b"]"#,
        r#""80/tcp":[{"HostIp":"","HostPort":"8080"}]"#,
        r#""AutoRemove":true"#,
    ] {
        assert!(create.contains(part), "{part} in {create}");
    }
    assert_eq!(daemon.requests("/wait?condition=removed").len(), 1);
}

#[test]
fn a_start_that_fails_has_dockers_status() {
    let daemon = Daemon::start(
        "fail",
        &[
            ("containers/create", "201 Created\n{\"Id\":\"abc\"}"),
            ("/start", "400 Bad Request\n{\"message\":\"exec: \\\"nope\\\": executable file not found in $PATH\"}"),
        ],
    );
    check(
        &daemon.run(&["run", "-d", "busybox", "nope"], ""),
        127,
        "",
        "prtiql: Error response from daemon: exec: \"nope\": executable file not found in $PATH.",
    );
}

#[test]
fn an_older_daemon_is_spoken_to_in_its_version() {
    let daemon = Daemon::start(
        "old",
        &[
            (
                "/v1.44/",
                "400 Bad Request\n{\"message\":\"client version 1.44 is too new. Maximum supported API version is 1.41\"}",
            ),
            ("/v1.41/containers/json", "200 OK\n[]"),
        ],
    );
    check(&daemon.run(&["ps"], ""), 0, "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n", "");
}

#[test]
fn lists_and_templates() {
    let daemon = Daemon::start(
        "list",
        &[
            (
                "containers/json",
                "200 OK\n[{\"Id\":\"0123456789abcdef\",\"Names\":[\"/web\"],\"Image\":\"busybox\",\"Command\":\"sleep 300\",\"Created\":0,\"State\":\"running\",\"Status\":\"Up 2 seconds\",\"Ports\":[],\"Labels\":{\"a\":\"b\"}}]",
            ),
            ("volumes/none", "404 Not Found\n{\"message\":\"get none: no such volume\"}"),
            ("containers/web/json", "200 OK\n{\"Id\":\"1\",\"State\":{\"Status\":\"running\"}}"),
        ],
    );
    check(&daemon.run(&["ps", "--format", "{{.ID}} {{.Names}} {{.Labels}}"], ""), 0, "0123456789ab web a=b\n", "");
    check(&daemon.run(&["ps", "-q", "--no-trunc"], ""), 0, "0123456789abcdef\n", "");
    check(&daemon.run(&["ps", "--format", "{{.Nope}}"], ""), 1, "", "can't evaluate field Nope");
    check(&daemon.run(&["volume", "inspect", "none"], ""), 1, "[]\n", "no such volume");
    check(&daemon.run(&["inspect", "-f", "{{.State.Status}}", "web", "gone"], ""), 1, "running\n", "Error: No such object: gone");
}

#[test]
fn failures_in_a_progress_stream_are_failures() {
    let daemon = Daemon::start(
        "pull",
        &[(
            "images/create",
            "200 OK\n{\"status\":\"Pulling from x\",\"id\":\"latest\"}\r\n{\"errorDetail\":{\"message\":\"manifest unknown\"},\"error\":\"manifest unknown\"}\r\n",
        )],
    );
    let output = daemon.run(&["pull", "x"], "");
    check(&output, 1, "Using default tag: latest\nlatest: Pulling from x\n", "manifest unknown");
    assert!(daemon.requests("fromImage=x&tag=latest").len() == 1);
}

#[test]
fn a_silent_daemon_is_an_error() {
    let daemon = Daemon::start("silent", &[("containers/json", "200 OK\nnot json"), ("info", "")]);
    check(&daemon.run(&["ps"], ""), 1, "", "not JSON");
    check(&daemon.run(&["info"], ""), 1, "", "not HTTP");
}
