//! `prtiql runtime`: an OCI runtime with runc's command line.

mod exec;
mod options;
mod query;
mod resources;
mod run;
mod signals;
mod state;
mod terminal;

use crate::base::{Error, Result};
use options::Options;
use std::io::Write;

/// What all commands share.
pub(super) struct Global {
    root: String,
    log: Option<String>,
    json: bool,
}

const DEFAULT_ROOT: &str = "/run/prtiql/runtime";

const HELP: &str = "Usage: prtiql runtime [OPTIONS] COMMAND

An OCI runtime with runc's command line.

Options:
      --root DIR          where the state of containers is kept
                          (default /run/prtiql/runtime)
      --log FILE          write errors and warnings there (default: stderr)
      --log-format FORMAT text or json
      --debug             write more
  -v, --version           print the version

Commands:
  create   make a container; its program waits
           -b --bundle, --console-socket, --pid-file, --no-pivot,
           --preserve-fds
  start    let the program of a created container run
  run      create, start, wait and delete
           as create, and -d --detach, --keep
  exec     run a further process in a container
           -p --process, -t --tty, -u --user, --cwd, -e --env, -d --detach, …
  state    print the state of a container
  kill     send a signal (default TERM): -a --all
  delete   remove a container: -f --force
  list     list containers: -f --format table|json, -q --quiet
  ps       list processes of a container: -f --format table|json
  pause, resume
  update   change limits
           -r --resources FILE|-, --memory, --cpu-shares, --pids-limit, …
  events   print statistics: --stats
  spec     write a config.json to start from: -b --bundle
  features print what the runtime can do
";

/// Runs one command; `args` is what follows `runtime`. Returns the exit status.
pub fn main(args: Vec<String>) -> i32 {
    let mut args = args.into_iter().peekable();
    let mut global = Global { root: DEFAULT_ROOT.to_owned(), log: None, json: false };
    let mut level = log::LevelFilter::Warn;
    let command = loop {
        let Some(arg) = args.next() else {
            return super::paged(HELP);
        };
        let (name, inline) = match arg.split_once('=') {
            Some((name, value)) if arg.starts_with("--") => (name.to_owned(), Some(value.to_owned())),
            _ => (arg.clone(), None),
        };
        let mut value = || inline.clone().or_else(|| args.next());
        match name.as_str() {
            "--root" => match value() {
                Some(v) => global.root = v,
                None => return usage("--root needs a value"),
            },
            "--log" => global.log = value(),
            "--log-format" => global.json = value().as_deref() == Some("json"),
            "--log-level" | "--rootless" | "--cgroup-manager" | "--criu" => drop(value()),
            "--debug" => level = log::LevelFilter::Debug,
            "--systemd-cgroup" => {}
            "-v" | "--version" => {
                println!("prtiql runtime version {}\nspec: {}", env!("CARGO_PKG_VERSION"), crate::runtime::hooks::VERSION);
                return 0;
            }
            "-h" | "--help" | "help" => {
                return super::paged(HELP);
            }
            _ if name.starts_with('-') => return usage(&format!("{name} is not known")),
            _ => break arg,
        }
    };
    Logger::start(&global, level);
    let rest: Vec<String> = args.collect();
    if rest.iter().take_while(|a| *a != "--").any(|a| a == "--help" || a == "-h") && command != "exec" {
        return super::paged(HELP);
    }
    match dispatch(&global, &command, rest) {
        Ok(status) => status,
        Err(e) => {
            log::error!("{e}");
            if global.log.is_some() {
                eprintln!("{e}");
            }
            // as runc: the status of a program cannot be told from ours otherwise
            if command == "exec" { 255 } else { 1 }
        }
    }
}

fn usage(text: &str) -> i32 {
    eprintln!("prtiql runtime: {text}\n\n{HELP}");
    2
}

fn dispatch(global: &Global, command: &str, args: Vec<String>) -> Result<i32> {
    const MAKE: &[&str] = &["-b --bundle", "--console-socket", "--pid-file", "--preserve-fds", "--pidfd-socket"];
    let parse = |with_value: &[&str], flags: &[&str]| Options::parse(command, args.clone(), with_value, flags);
    if matches!(command, "create" | "run" | "exec") {
        standard_streams()?;
        crate::runtime::shield()?;
    }
    match command {
        "create" => run::create(global, &parse(MAKE, &["--no-pivot", "--no-new-keyring"])?),
        "run" => run::run(global, &parse(MAKE, &["--no-pivot", "--no-new-keyring", "-d --detach", "--keep", "--no-subreaper"])?),
        "start" => run::start(global, &parse(&[], &[])?),
        "kill" => run::kill(global, &parse(&[], &["-a --all"])?),
        "delete" => run::delete(global, &parse(&[], &["-f --force"])?),
        "pause" => run::pause(global, &parse(&[], &[])?, true),
        "resume" => run::pause(global, &parse(&[], &[])?, false),
        "exec" => exec::exec(global, &args),
        "state" => query::state(global, &parse(&[], &[])?),
        "list" => query::list(global, &parse(&["-f --format"], &["-q --quiet"])?),
        "ps" => query::ps(global, &parse(&["-f --format"], &[])?),
        "events" => query::events(global, &parse(&["--interval"], &["--stats"])?),
        "spec" => query::spec(&parse(&["-b --bundle"], &["--rootless"])?),
        "features" => query::features(),
        "update" => resources::update(global, &Options::parse(command, args, resources::OPTIONS, &[])?),
        other => Err(Error::invalid(format!("{other} is not a command; see prtiql runtime --help"))),
    }
}

/// Opens what is closed of the standard streams, so that no other file gets their numbers.
fn standard_streams() -> Result<()> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::IntoRawFd;
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        if rustix::io::fcntl_getfd(stream).is_err() {
            let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
            let _ = null.into_raw_fd(); // stays open for good, under the lowest free number, which is this one
        }
    }
    Ok(())
}

/// Errors and warnings in runc's two formats.
struct Logger {
    json: bool,
    file: Option<std::fs::File>,
}

impl Logger {
    fn start(global: &Global, level: log::LevelFilter) {
        let open = |path: &String| std::fs::OpenOptions::new().create(true).append(true).open(path).ok();
        let logger = Logger { json: global.json, file: global.log.as_ref().and_then(open) };
        if log::set_logger(Box::leak(Box::new(logger))).is_ok() {
            log::set_max_level(level);
        }
    }
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = record.level().as_str().to_ascii_lowercase();
        let level = if level == "warn" { "warning" } else { &level };
        let (text, time) = (record.args().to_string(), crate::base::time::Time::now());
        let line = if self.json {
            serde_json::json!({"level": level, "msg": text, "time": time.rfc3339()}).to_string()
        } else if self.file.is_some() {
            format!("time={:?} level={level} msg={text:?}", time.rfc3339())
        } else {
            format!("prtiql runtime: {level}: {text}")
        };
        // there is nowhere to report that a report could not be written
        let _ = match &self.file {
            Some(file) => {
                let mut file = file;
                writeln!(file, "{line}")
            }
            None => writeln!(std::io::stderr(), "{line}"),
        };
    }

    fn flush(&self) {}
}
