//! The log of this process: one line a record on standard error, as logfmt; the service manager adds the rest.

use log::{Level, LevelFilter, Metadata, Record};
use std::io::Write;

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries' chatter only as warnings: theirs may hold headers.
        metadata.level() <= Level::Warn || metadata.target().starts_with("prtiql")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let time = crate::base::time::Time::now().rfc3339_fixed();
            let level = record.level().as_str().to_ascii_lowercase();
            let line = format!("time=\"{time}\" level={level} msg={:?}\n", record.args().to_string());
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Starts logging at a level: debug, info, warn, error (fatal is error).
pub fn start(level: &str, debug: bool) {
    let filter = match level.to_ascii_lowercase().as_str() {
        _ if debug => LevelFilter::Debug,
        "debug" => LevelFilter::Debug,
        "warn" | "warning" => LevelFilter::Warn,
        "error" | "fatal" => LevelFilter::Error,
        _ => LevelFilter::Info,
    };
    static LOGGER: Logger = Logger;
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(filter);
}

/// The level of this process, for its children to start with.
pub fn level() -> &'static str {
    log::max_level().as_str()
}
