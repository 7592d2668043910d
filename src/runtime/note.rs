//! Warnings of a container's init: it has no log of its own (its standard error may be the container's already), so they are
//! collected here and the parent logs them.

use std::sync::Mutex;

static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers a warning.
pub fn add(text: String) {
    if let Ok(mut notes) = NOTES.lock() {
        notes.push(text);
    }
}

/// Takes what was remembered.
pub fn take() -> Vec<String> {
    NOTES.lock().map(|mut notes| std::mem::take(&mut *notes)).unwrap_or_default()
}
