//! Failures of requests: which of them pass, so that trying again makes sense, and which do not.

use crate::base::{Error, Kind};
use std::io;

/// A failed request.
#[derive(Debug)]
pub struct Failure {
    /// What to tell.
    pub error: Error,
    /// May go away by itself: dropped connections, 5xx, 429.
    pub passing: bool,
    /// What `Retry-After` said, in seconds.
    pub retry_after: Option<u64>,
    /// The other side does not speak TLS, or only TLS, or we cannot: another scheme may work.
    pub wrong_scheme: bool,
    /// What the server has does not fit the part that is here already: only from the start can it be fetched.
    pub restart: bool,
    /// It is not the server's: the caller's own sink failed, or the job is to stop.
    pub local: bool,
    /// The status of the answer that it is; 0 if there was no answer.
    pub status: u16,
}

impl Failure {
    /// Trying again gives the same.
    pub fn lasting(error: Error) -> Failure {
        Failure { error, passing: false, retry_after: None, wrong_scheme: false, restart: false, local: false, status: 0 }
    }

    /// Not the server's: neither trying again nor another server helps.
    pub fn local(error: Error) -> Failure {
        Failure { local: true, ..Failure::lasting(error) }
    }

    /// Trying again may help.
    pub fn passing(error: Error) -> Failure {
        Failure { passing: true, ..Failure::lasting(error) }
    }

    /// The same with a sentence in front.
    pub fn context(self, message: impl Into<String>) -> Failure {
        Failure { error: self.error.context(message), ..self }
    }

    /// What an I/O error on a connection means.
    pub fn of_io(e: &io::Error) -> Failure {
        if is_cancel(e) {
            return Failure::local(canceled());
        }
        if let Some(tls) = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Failure::of_tls(tls);
        }
        let text = match e.kind() {
            io::ErrorKind::UnexpectedEof => "unexpected EOF".to_string(),
            io::ErrorKind::TimedOut => "i/o timeout".to_string(),
            _ => Error::from(io::Error::new(e.kind(), e.to_string())).to_string(),
        };
        let text = match e.raw_os_error() {
            Some(code) => crate::base::error::errno_text(rustix::io::Errno::from_raw_os_error(code)),
            None => text,
        };
        Failure::passing(Error::new(Kind::Unavailable, text).with_kind(Kind::Internal))
    }

    fn of_tls(e: &rustls::Error) -> Failure {
        use rustls::CertificateError as C;
        let x509 = |text: &str| Failure::lasting(Error::internal(format!("tls: failed to verify certificate: x509: {text}")));
        let now = || crate::base::time::Time::now().rfc3339();
        match e {
            rustls::Error::InvalidCertificate(C::UnknownIssuer) => x509("certificate signed by unknown authority"),
            rustls::Error::InvalidCertificate(C::Expired | C::ExpiredContext { .. }) => {
                x509(&format!("certificate has expired: this machine's clock says {}", now()))
            }
            rustls::Error::InvalidCertificate(C::NotValidYet) => {
                x509(&format!("certificate is not yet valid: this machine's clock says {}, is it right?", now()))
            }
            rustls::Error::InvalidCertificate(C::NotValidYetContext { not_before, .. }) => {
                let from =
                    crate::base::time::Time(i64::try_from(not_before.as_secs()).unwrap_or(0).saturating_mul(1_000_000_000));
                x509(&format!(
                    "certificate is not yet valid, but from {} on: this machine's clock says {}, is it right?",
                    from.rfc3339(),
                    now()
                ))
            }
            rustls::Error::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. }) => {
                x509("certificate is not valid for this name: something else, perhaps a captive portal, answers in its place")
            }
            rustls::Error::InvalidCertificate(other) => x509(&format!("{other:?}")),
            rustls::Error::InvalidMessage(_) => Failure {
                wrong_scheme: true,
                ..Failure::lasting(Error::internal("http: server gave HTTP response to HTTPS client"))
            },
            other => Failure::passing(Error::internal(format!("tls: {other}"))),
        }
    }
}

/// Nobody waits for the job any more.
pub fn canceled() -> Error {
    Error::new(Kind::Unavailable, "context canceled")
}

/// The I/O error that says so.
pub fn cancel_io() -> io::Error {
    io::Error::other("context canceled")
}

/// Is it that error?
pub fn is_cancel(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.to_string() == "context canceled")
}
