//! The one error type: a kind, a message that names the object, and what caused it.

use rustix::io::Errno;
use std::fmt;

/// What sort of failure it is. Maps to an HTTP status (Docker's) and an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// The request or the input is wrong: 400.
    Invalid,
    /// Credentials are missing or wrong: 401.
    Unauthorized,
    /// Refused: 403.
    Forbidden,
    /// No such object: 404.
    NotFound,
    /// Collides with the state of an object: 409.
    Conflict,
    /// Nothing to change: 304.
    NotModified,
    /// Too large: 413.
    TooLarge,
    /// Not part of this engine: 501.
    Unsupported,
    /// Try again later: 503.
    Unavailable,
    /// Everything else: 500.
    Internal,
}

impl Kind {
    /// The HTTP status that Docker's API uses for this kind.
    pub fn status(self) -> u16 {
        match self {
            Kind::Invalid => 400,
            Kind::Unauthorized => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::Conflict => 409,
            Kind::NotModified => 304,
            Kind::TooLarge => 413,
            Kind::Unsupported => 501,
            Kind::Unavailable => 503,
            Kind::Internal => 500,
        }
    }
}

/// An error: `message` is lower case, names the object, and says what to do where that is not plain.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<Error>>,
    errno: Option<Errno>,
}

/// The result of nearly everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), source: None, errno: None }
    }
    /// 400.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, message)
    }
    /// 404.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }
    /// 409.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, message)
    }
    /// 500.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }
    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(Kind::Unavailable, message)
    }
    /// 501.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(Kind::Unsupported, message)
    }
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// The same error with another kind.
    pub fn with_kind(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }
    /// The system call's error that is at the bottom of it.
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }
    /// Is it this machine's own trouble, a full or failing disk or a lack of memory, and not that of the data?
    pub fn is_of_machine(&self) -> bool {
        use Errno as E;
        let of_machine = [E::NOSPC, E::DQUOT, E::IO, E::ROFS, E::NOMEM, E::MFILE, E::NFILE];
        self.errno.is_some_and(|e| of_machine.contains(&e))
    }
    /// Puts a sentence in front: what was being done, and to which object. Keeps the kind.
    pub fn context(self, message: impl Into<String>) -> Error {
        Error { kind: self.kind, message: message.into(), errno: self.errno, source: Some(Box::new(self)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        match e.raw_os_error() {
            Some(code) => Errno::from_raw_os_error(code).into(),
            None => Error::internal(e.to_string()),
        }
    }
}

impl From<Errno> for Error {
    fn from(e: Errno) -> Error {
        Error { errno: Some(e), ..Error::internal(errno_text(e)) }
    }
}

impl From<serde_json::Error> for Error {
    fn from(e: serde_json::Error) -> Error {
        Error::invalid(e.to_string())
    }
}

/// The C library's text for an error number, in lower case as Docker's messages have it.
pub fn errno_text(e: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(e.raw_os_error()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// `.context(|| …)` on results: what was being done, and to which object.
pub trait Context<T> {
    /// Puts a sentence in front of the error.
    fn context<S: Into<String>>(self, message: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, message: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| e.into().context(message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_one_line_and_keeps_the_kind() {
        let e: Result<()> = Err(Errno::NOENT).context(|| "open /x");
        let e = e.unwrap_err().with_kind(Kind::NotFound).context("load image y");
        assert_eq!(e.to_string(), "load image y: open /x: no such file or directory");
        assert_eq!(e.kind().status(), 404);
    }
}
