//! What a container's init has to tell beside errors: it has no log of its own (its standard error may be the container's
//! already), so notes are collected here and the parent logs them.

use std::sync::Mutex;

/// One note.
pub struct Note {
    /// Only worth knowing when one looks for it.
    pub minor: bool,
    /// The text.
    pub text: String,
}

impl Note {
    /// Writes it to the log.
    pub fn log(&self) {
        if self.minor { log::info!("{}", self.text) } else { log::warn!("{}", self.text) }
    }
}

static NOTES: Mutex<Vec<Note>> = Mutex::new(Vec::new());

fn push(note: Note) {
    if let Ok(mut notes) = NOTES.lock() {
        notes.push(note);
    }
}

/// Remembers a warning.
pub fn add(text: String) {
    push(Note { minor: false, text });
}

/// Remembers something that is no warning.
pub fn minor(text: String) {
    push(Note { minor: true, text });
}

/// Takes what was remembered.
pub fn take() -> Vec<Note> {
    NOTES.lock().map(|mut notes| std::mem::take(&mut *notes)).unwrap_or_default()
}
