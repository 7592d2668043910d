//! A process that is about to take much memory says so first, where a limit can still be raised.

use std::sync::OnceLock;

type Heard = Box<dyn Fn(u64) + Send + Sync>;

static HEARD: OnceLock<Heard> = OnceLock::new();

/// What [`announce`] does in this process; the first call counts.
pub fn on_announced(heard: impl Fn(u64) + Send + Sync + 'static) {
    let _ = HEARD.set(Box::new(heard));
}

/// So many bytes will be taken at once.
pub fn announce(bytes: u64) {
    if let Some(heard) = HEARD.get() {
        heard(bytes);
    }
}
