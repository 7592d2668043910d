//! The terminal that we run in: its size, raw mode and the way back, and signals as events on a descriptor.

use crate::base::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::termios::{self, OptionalActions, Termios};
use std::io::IsTerminal;

/// Is standard input a terminal?
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Is standard output a terminal?
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Rows and columns of the terminal on standard output (or input). A serial line does not know and says 0: then those that such
/// terminals have.
pub fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(std::io::stdout()).or_else(|_| termios::tcgetwinsize(std::io::stdin())).ok()?;
    let or = |n: u16, usual: u16| if n == 0 { usual } else { n };
    Some((or(size.ws_row, 24), or(size.ws_col, 80)))
}

/// Columns of the terminal on standard output.
pub fn width() -> usize {
    size().map_or(80, |(_, columns)| usize::from(columns))
}

/// Is this a plain terminal, such as one on a serial line? It is shown no codes that move a cursor, and lines that fit. Whoever does not
/// say what it is gets plain text; one that gives its name as that of a serial terminal of old is as slow as these were.
pub fn is_plain() -> bool {
    std::env::var("TERM").map_or(true, |name| name.is_empty() || name == "dumb" || name.starts_with("vt"))
}

/// The columns that lines must fit, if standard output is a plain terminal.
pub fn plain_width() -> Option<usize> {
    (is_plain() && stdout_is_terminal()).then(width)
}

/// Raw mode of the terminal on standard input, until it is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Sets raw mode; nothing to do where standard input is no terminal.
    pub fn enter() -> Result<Option<Raw>> {
        if !stdin_is_terminal() {
            return Ok(None);
        }
        let before = termios::tcgetattr(std::io::stdin()).context(|| "read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).context(|| "set the terminal to raw mode")?;
        Ok(Some(Raw { before }))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // nobody is left to tell if the terminal went away
        _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Signals that a running container gets from us.
const FORWARDED: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGALRM,
];

/// Blocks signals and gives a descriptor to read them from.
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Window changes always; the signals to forward if `forward`.
    pub fn new(forward: bool) -> Result<Signals> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGWINCH);
        if forward {
            FORWARDED.iter().for_each(|s| set.add(*s));
        }
        set.thread_block().context_errno("block signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).context_errno("watch signals")?;
        Ok(Signals { fd })
    }

    /// The next one that has come.
    pub fn next(&mut self) -> Option<Signal> {
        let info = self.fd.read_signal().ok()??;
        Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok()
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// nix's errors as ours.
trait ContextErrno<T> {
    fn context_errno(self, what: &str) -> Result<T>;
}

impl<T> ContextErrno<T> for nix::Result<T> {
    fn context_errno(self, what: &str) -> Result<T> {
        self.map_err(|e| std::io::Error::from_raw_os_error(e as i32)).context(|| what)
    }
}
