//! The shim's loop: the container's streams, attached clients, the daemon's wishes, and the exit status. No heap.

use super::ending::{number, oom_kills, remove_cgroup, write_exit};
use super::log::Writer;
use super::output::{BUFFER, Output, ReadOutcome};
use crate::base::time::Time;
use crate::wire::shim::{self as wire, Record};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Clients attached at once; more are refused.
const CLIENTS: usize = 8;
/// Connections to the listening socket at once: the next daemon, and followers of the log that wait for the end.
const GUESTS: usize = 16;
/// Descriptors that are polled at once.
const POLLED: usize = CLIENTS + GUESTS + 6;
/// After the container's end a client may take so long to take its last bytes.
const LAST_BYTES_MS: i64 = 10_000;

/// The descriptors that the starter leaves behind, by number.
pub mod fds {
    /// Socket to the daemon.
    pub const CONTROL: i32 = 0;
    /// Listening socket for the next daemon; absent for an exec.
    pub const LISTEN: i32 = 3;
    /// The container's standard input, or its terminal's master.
    pub const STDIN: i32 = 4;
    /// The container's standard output.
    pub const STDOUT: i32 = 5;
    /// The container's standard error.
    pub const STDERR: i32 = 6;
    /// The log's folder.
    pub const LOG_DIR: i32 = 7;
    /// The run directory.
    pub const RUN_DIR: i32 = 8;
}

/// Positions of the arguments.
pub mod args {
    /// pid of the container's init.
    pub const PID: usize = 1;
    /// Letters: t terminal, i standard input, o close it when its client goes, l log, r listen, d outputs are open, m shared
    /// memory is mounted at `shm` in the run directory.
    pub const FLAGS: usize = 2;
    /// Name of the exit file in the run directory; empty for an exec.
    pub const EXIT_FILE: usize = 3;
    /// File that counts OOM kills; empty without.
    pub const OOM_FILE: usize = 4;
    /// Bytes per log file.
    pub const LOG_SIZE: usize = 5;
    /// Number of log files.
    pub const LOG_FILES: usize = 6;
    /// Nanoseconds since 1970 of the start.
    pub const STARTED: usize = 7;
    /// cgroup folders to remove at the end, this one and all that follow.
    pub const CGROUPS: usize = 8;
}

struct Client {
    socket: OwnedFd,
    flags: u16,
    /// Its standard input still counts.
    stdin: bool,
    /// Bytes of the chunk in flight (frame included) that it has, by stream.
    sent: [usize; 2],
}

struct Shim {
    pid: Pid,
    tty: bool,
    stdin_once: bool,
    stdin: Option<OwnedFd>,
    outputs: [Output; 2],
    log: Option<Writer>,
    clients: heapless::Vec<Client, CLIENTS>,
    control: Option<OwnedFd>,
    listen: Option<OwnedFd>,
    guests: heapless::Vec<OwnedFd, GUESTS>,
    /// Client bytes on their way to standard input.
    input: &'static mut [u8],
    input_range: (usize, usize),
    close_stdin_after_input: bool,
    message: &'static mut [u8],
    started: i64,
    exit: Option<(i32, i64)>,
}

/// Runs until the container has ended and its output is delivered.
pub fn run(arguments: &[&'static [u8]]) -> Result<(), Errno> {
    let argument = |at: usize| arguments.get(at).copied().unwrap_or_default();
    let flag = |letter: u8| argument(args::FLAGS).contains(&letter);
    let pid = i32::try_from(number(argument(args::PID))).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    let take = crate::sys::inherit::take;
    let _ = rustix::thread::set_name(c"prtiql-shim");
    let memory = |len| crate::sys::pages::zeroed(len).map_err(|_| Errno::NOMEM);

    let open = flag(b'd');
    let stdin = (flag(b'i') || flag(b't')).then(|| take(fds::STDIN)).flatten();
    let stdout =
        if flag(b't') { stdin.as_ref().and_then(|fd| fd.try_clone().ok()) } else { open.then(|| take(fds::STDOUT)).flatten() };
    let stderr = (open && !flag(b't')).then(|| take(fds::STDERR)).flatten();
    for fd in [&stdin, &stdout, &stderr].into_iter().flatten() {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    let log = match flag(b'l').then(|| take(fds::LOG_DIR)).flatten() {
        Some(dir) => {
            let (size, files) = (number(argument(args::LOG_SIZE)) as u64, number(argument(args::LOG_FILES)) as u32);
            Writer::open(dir, size, files, memory(8192)?).ok()
        }
        None => None,
    };
    let control = take(fds::CONTROL);
    for fd in [&control].into_iter().flatten() {
        let _ = rustix::io::ioctl_fionbio(fd, true);
    }
    let mut shim = Shim {
        pid,
        tty: flag(b't'),
        stdin_once: flag(b'o'),
        stdin: if flag(b'i') || flag(b't') { stdin } else { None },
        outputs: [Output::new(1, stdout, memory(BUFFER)?), Output::new(2, stderr, memory(BUFFER)?)],
        log,
        clients: heapless::Vec::new(),
        control,
        listen: flag(b'r').then(|| take(fds::LISTEN)).flatten(),
        guests: heapless::Vec::new(),
        input: memory(crate::sys::channel::INLINE)?,
        input_range: (0, 0),
        close_stdin_after_input: false,
        message: memory(crate::sys::channel::INLINE + 1)?,
        started: number(argument(args::STARTED)),
        exit: None,
    };
    shim.supervise(argument(args::EXIT_FILE))?;
    let oom = oom_kills(argument(args::OOM_FILE)) > 0;
    // The code and the time are safe since the reaping; whether memory was the reason is known only now.
    if let Some((status, time)) = shim.exit {
        write_exit(argument(args::EXIT_FILE), status, time, oom);
        let mut left = false;
        for path in arguments.iter().skip(args::CGROUPS) {
            left |= !remove_cgroup(path);
        }
        if flag(b'm') {
            let _ = rustix::mount::unmount(c"/proc/self/fd/8/shm", rustix::mount::UnmountFlags::DETACH);
        }
        let record = Record {
            kind: wire::EXITED,
            flags: if oom { wire::OOM } else { 0 } | if left { wire::CGROUP_LEFT } else { 0 },
            a: status as u32,
            b: 0,
            time,
        };
        shim.tell(&record);
    }
    // Last: a client that sees the end of the stream asks the daemon for the exit status next, and the daemon must have it.
    shim.farewell();
    Ok(())
}

impl Shim {
    fn supervise(&mut self, exit_file: &[u8]) -> Result<(), Errno> {
        let children = crate::sys::signals::child_ended()?;
        self.read_control();
        self.reap(exit_file);
        loop {
            if self.exit.is_some() && self.drained() {
                return Ok(());
            }
            self.turn(children.as_fd(), exit_file)?;
        }
    }

    /// After the end: everything that the container wrote is read, and no client waits for it.
    fn drained(&mut self) -> bool {
        let Some((_, ended)) = self.exit else { return false };
        let late = Time::now().0 - ended > LAST_BYTES_MS * 1_000_000;
        for i in 0..2 {
            while !self.outputs[i].is_busy() && self.outputs[i].fd.is_some() {
                if self.read_output(i) == ReadOutcome::Empty {
                    self.outputs[i].close(self.log.as_mut(), Time::now().0);
                }
                self.deliver(i);
            }
        }
        late || self.outputs.iter().all(|o| !o.is_busy())
    }

    fn turn(&mut self, children: BorrowedFd<'_>, exit_file: &[u8]) -> Result<(), Errno> {
        let mut set: heapless::Vec<PollFd<'_>, POLLED> = heapless::Vec::new();
        let mut what: heapless::Vec<What, POLLED> = heapless::Vec::new();
        let busy = [self.outputs[0].is_busy(), self.outputs[1].is_busy()];
        let room = self.input_range.0 == self.input_range.1;
        let mut add = |fd, flags, who| {
            let _ = set.push(PollFd::from_borrowed_fd(fd, flags));
            let _ = what.push(who);
        };
        add(children, PollFlags::IN, What::Child);
        if let Some(fd) = &self.control {
            add(fd.as_fd(), PollFlags::IN, What::Control);
        }
        if let Some(fd) = self.listen.as_ref().filter(|_| !self.guests.is_full()) {
            add(fd.as_fd(), PollFlags::IN, What::Listen);
        }
        for (i, guest) in self.guests.iter().enumerate() {
            add(guest.as_fd(), PollFlags::IN, What::Guest(i));
        }
        for (i, output) in self.outputs.iter().enumerate() {
            if let Some(fd) = output.fd.as_ref().filter(|_| !busy[i]) {
                add(fd.as_fd(), PollFlags::IN, What::Output(i));
            }
        }
        if let Some(fd) = self.stdin.as_ref().filter(|_| !room) {
            add(fd.as_fd(), PollFlags::OUT, What::Stdin);
        }
        for (i, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if client.stdin && room {
                flags |= PollFlags::IN;
            }
            if (0..2).any(|s| busy[s] && self.wants(client, s) && client.sent[s] < self.whole(client, s)) {
                flags |= PollFlags::OUT;
            }
            // Unread input of a client that may be gone already: poll would report its hang-up for ever.
            if !(flags.is_empty() && client.stdin) {
                add(client.socket.as_fd(), flags, What::Client(i));
            }
        }
        let timeout = self.exit.map(|_| rustix::event::Timespec { tv_sec: 0, tv_nsec: 200_000_000 });
        match crate::sys::pages::sleep_lightly(&mut set, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        let mut ready: heapless::Vec<(What, PollFlags), POLLED> = heapless::Vec::new();
        for (fd, who) in set.iter().zip(&what) {
            if !fd.revents().is_empty() {
                let _ = ready.push((*who, fd.revents()));
            }
        }
        drop(set);
        for (who, flags) in ready.iter().rev() {
            match *who {
                What::Client(i) => self.client_ready(i, *flags),
                What::Stdin => self.write_input(),
                What::Output(i) => {
                    self.read_output(i);
                }
                What::Control => self.read_control(),
                What::Listen => self.accept(),
                What::Guest(i) => self.guest_speaks(i),
                What::Child => {
                    crate::sys::signals::drain(children);
                    self.reap(exit_file);
                }
            }
        }
        for i in 0..2 {
            self.deliver(i);
        }
        Ok(())
    }

    fn wants(&self, client: &Client, stream: usize) -> bool {
        client.flags & (if stream == 1 { wire::STDERR } else { wire::STDOUT }) != 0
    }

    /// Bytes of the chunk in flight for that client, frame included.
    fn whole(&self, client: &Client, stream: usize) -> usize {
        self.outputs[stream].chunk().len() + if client.flags & wire::FRAMED != 0 { 8 } else { 0 }
    }

    /// Reads a chunk, which every client is then to have.
    fn read_output(&mut self, stream: usize) -> ReadOutcome {
        let outcome = self.outputs[stream].read(self.log.as_mut(), Time::now().0);
        if outcome == ReadOutcome::Chunk {
            for client in &mut self.clients {
                client.sent[stream] = 0;
            }
        }
        outcome
    }

    /// Sends the chunk in flight as far as clients take it, and releases it when all have it.
    fn deliver(&mut self, stream: usize) {
        if !self.outputs[stream].is_busy() {
            return;
        }
        // One frame at a time per client: the other stream's frame must not cut into one that is half sent.
        let other = 1 - stream;
        let mut all = true;
        let mut i = 0;
        while i < self.clients.len() {
            let client = &self.clients[i];
            let whole = self.whole(client, stream);
            let in_other =
                client.sent[other] > 0 && client.sent[other] < self.whole(client, other) && self.outputs[other].is_busy();
            if !self.wants(client, stream) || client.sent[stream] >= whole {
                i += 1;
                continue;
            }
            if in_other {
                all = false;
                i += 1;
                continue;
            }
            match self.send_chunk(i, stream) {
                Ok(done) => {
                    all &= done;
                    i += 1;
                }
                Err(_) => self.drop_client(i),
            }
        }
        if all {
            self.outputs[stream].release();
        }
    }

    fn send_chunk(&mut self, index: usize, stream: usize) -> Result<bool, Errno> {
        let framed = self.clients[index].flags & wire::FRAMED != 0;
        let output = &self.outputs[stream];
        let (head, chunk) = (output.frame(), output.chunk());
        let head: &[u8] = if framed { &head } else { &[] };
        let client = &mut self.clients[index];
        while client.sent[stream] < head.len() + chunk.len() {
            let at = client.sent[stream];
            let result = if at < head.len() {
                let parts = [std::io::IoSlice::new(&head[at..]), std::io::IoSlice::new(chunk)];
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                rustix::net::sendmsg(&client.socket, &parts, &mut Default::default(), flags)
            } else {
                rustix::net::send(&client.socket, &chunk[at - head.len()..], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
            };
            match result {
                Ok(n) => client.sent[stream] += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Closes the clients' connections. Input that nobody has read would turn into a connection reset for them: it is taken out.
    fn farewell(&mut self) {
        for client in &self.clients {
            let _ = rustix::net::shutdown(&client.socket, rustix::net::Shutdown::Read);
            while matches!(rustix::net::recv(&client.socket, &mut *self.input, RecvFlags::DONTWAIT), Ok((n, _)) if n > 0) {}
        }
        self.clients.clear();
    }

    fn drop_client(&mut self, index: usize) {
        let client = self.clients.swap_remove(index);
        if client.stdin {
            self.input_ended();
        }
    }

    fn client_ready(&mut self, index: usize, flags: PollFlags) {
        let Some(client) = self.clients.get(index) else { return };
        if client.stdin && flags.intersects(PollFlags::IN | PollFlags::HUP) && self.input_range.0 == self.input_range.1 {
            match rustix::net::recv(&client.socket, &mut *self.input, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.clients[index].stdin = false;
                    self.input_ended();
                }
                Ok((n, _)) => {
                    self.input_range = (0, n);
                    self.write_input();
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.drop_client(index),
            }
        } else if flags.intersects(PollFlags::ERR | PollFlags::HUP) && !client.stdin {
            self.drop_client(index);
        }
    }

    /// A client's input has ended: the container's ends too if it was to be read once.
    fn input_ended(&mut self) {
        if self.stdin_once && !self.tty {
            self.close_stdin_after_input = true;
            self.write_input();
        }
    }

    fn write_input(&mut self) {
        while self.input_range.0 < self.input_range.1 {
            let Some(fd) = &self.stdin else {
                self.input_range = (0, 0);
                break;
            };
            match rustix::io::write(fd, &self.input[self.input_range.0..self.input_range.1]) {
                Ok(n) => self.input_range.0 += n,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.stdin = None,
            }
        }
        self.input_range = (0, 0);
        if self.close_stdin_after_input {
            self.stdin = None;
        }
    }

    fn read_control(&mut self) {
        loop {
            let Some(control) = &self.control else { return };
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let n = {
                let mut parts = [IoSliceMut::new(&mut *self.message)];
                match rustix::net::recvmsg(control, &mut parts, &mut ancillary, flags) {
                    Ok(message) => message.bytes,
                    Err(Errno::INTR) => continue,
                    Err(Errno::AGAIN) => return,
                    Err(_) => 0,
                }
            };
            let mut fd = None;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(mut received) = message {
                    fd = received.next();
                }
            }
            if n == 0 {
                self.control = None; // the daemon is gone; the next one knocks at the listening socket
                return;
            }
            // The first byte says how the message travels: a record is always inline.
            if let Some((record, payload)) = Record::decode(&self.message[1..n]) {
                let payload = payload.len();
                self.obey(record, n - payload..n, fd);
            }
        }
    }

    fn obey(&mut self, record: Record, payload: std::ops::Range<usize>, fd: Option<OwnedFd>) {
        match record.kind {
            wire::ATTACH => {
                let Some(socket) = fd else { return };
                let _ = rustix::io::ioctl_fionbio(&socket, false);
                let stdin = record.flags & wire::STDIN != 0 && self.stdin.is_some();
                // A client that comes while a chunk is in flight starts with the next one.
                let sent = [usize::MAX, usize::MAX];
                if self.clients.push(Client { socket, flags: record.flags, stdin, sent }).is_err() {
                    return;
                }
                if stdin && !payload.is_empty() && self.input_range.0 == self.input_range.1 {
                    let n = payload.len();
                    self.input[..n].copy_from_slice(&self.message[payload]);
                    self.input_range = (0, n);
                    self.write_input();
                }
            }
            wire::RESIZE if self.tty => {
                if let Some(terminal) = &self.stdin {
                    let size =
                        rustix::termios::Winsize { ws_row: record.a as u16, ws_col: record.b as u16, ws_xpixel: 0, ws_ypixel: 0 };
                    let _ = rustix::termios::tcsetwinsize(terminal, size);
                }
            }
            wire::SIGNAL if self.exit.is_none() => {
                if let Some(signal) = i32::try_from(record.a).ok().and_then(crate::sys::signals::from_number) {
                    let _ = rustix::process::kill_process(self.pid, signal);
                }
            }
            wire::CLOSE_STDIN => {
                self.close_stdin_after_input = true;
                self.write_input();
            }
            wire::HELLO => {
                let pid = self.pid.as_raw_nonzero().get() as u32;
                self.tell(&Record { kind: wire::RUNNING, flags: 0, a: pid, b: 0, time: self.started });
            }
            _ => {}
        }
    }

    fn tell(&mut self, record: &Record) {
        if let Some(control) = &self.control {
            let _ = crate::sys::channel::send(control.as_fd(), &record.encode(), &[]);
        }
    }

    fn accept(&mut self) {
        if let Some(listen) = &self.listen
            && let Ok(socket) =
                rustix::net::accept_with(listen, rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK)
        {
            let _ = self.guests.push(socket);
        }
    }

    /// The next daemon says something (its HELLO), or a follower of the log is gone.
    fn guest_speaks(&mut self, index: usize) {
        if index >= self.guests.len() {
            return;
        }
        let guest = self.guests.swap_remove(index);
        let mut first = [0u8; 1];
        if matches!(rustix::net::recv(&guest, &mut first, RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((_, n)) if n > 0) {
            self.control = Some(guest);
            self.read_control();
        }
    }

    fn reap(&mut self, exit_file: &[u8]) {
        loop {
            let (pid, status) = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => (pid, status),
                Err(Errno::INTR) => continue,
                Ok(None) | Err(_) => return,
            };
            if pid == self.pid && self.exit.is_none() {
                let time = Time::now().0;
                self.exit = Some((raw_status(status), time));
                self.stdin = if self.tty { self.stdin.take() } else { None };
                write_exit(exit_file, raw_status(status), time, false);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    Child,
    Control,
    Listen,
    Guest(usize),
    Output(usize),
    Stdin,
    Client(usize),
}

fn raw_status(status: WaitStatus) -> i32 {
    status.as_raw()
}
