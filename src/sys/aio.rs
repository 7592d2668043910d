//! Several reads at once, by Linux's own asynchronous ones (io_submit(2)): the device gets them together, those of neighbours as one
//! request, and the process waits once.

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What files opened with `O_DIRECT` are read in: places, lengths and addresses in memory are multiples of it.
pub const ALIGNED: usize = 4096;
const PREAD: u16 = 0;

/// `struct iocb` of linux/aio_abi.h, as on machines whose low byte comes first.
#[repr(C)]
#[derive(Default)]
struct Request {
    data: u64,
    key: u32,
    flags: i32,
    operation: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    more_flags: u32,
    event_file: u32,
}

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    more: i64,
}

const _: () = assert!(size_of::<Request>() == 64 && size_of::<Event>() == 32);

/// One read: of a file, from its begin.
pub struct Read<'a> {
    /// From it.
    pub file: BorrowedFd<'a>,
    /// To here.
    pub buffer: &'a mut [u8],
    /// How many bytes came.
    pub result: rustix::io::Result<usize>,
}

/// The kernel's side of it.
pub struct Reads(libc::c_ulong);

/// # Safety
/// As the system call demands.
#[allow(unsafe_code)]
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> rustix::io::Result<usize> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    usize::try_from(result).map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

impl Reads {
    /// For so many at once. Kernels without CONFIG_AIO have none.
    pub fn new(most: usize) -> rustix::io::Result<Reads> {
        let mut context: libc::c_ulong = 0;
        // SAFETY: the kernel writes one word, where one is.
        #[allow(unsafe_code)]
        unsafe { call(libc::SYS_io_setup, [most, (&raw mut context) as usize, 0, 0, 0]) }?;
        Ok(Reads(context))
    }

    /// Reads all of them. Afterwards the kernel is done with all buffers, whatever the results are.
    pub fn read(&mut self, reads: &mut [Read<'_>]) {
        let request = |(nth, read): (usize, &mut Read<'_>)| {
            read.result = Err(Errno::CANCELED);
            let (buffer, length) = (read.buffer.as_mut_ptr() as u64, read.buffer.len() as u64);
            Request {
                data: nth as u64,
                operation: PREAD,
                file: read.file.as_raw_fd() as u32,
                buffer,
                length,
                ..Request::default()
            }
        };
        let requests: Vec<Request> = reads.iter_mut().enumerate().map(request).collect();
        let pointers: Vec<*const Request> = requests.iter().map(std::ptr::from_ref).collect();
        let arguments = [self.0 as usize, pointers.len(), pointers.as_ptr() as usize, 0, 0];
        // SAFETY: the requests live to the end of this call, and the buffers are the caller's, mutably borrowed: `wait` comes before
        // both go.
        #[allow(unsafe_code)]
        let sent = unsafe { call(libc::SYS_io_submit, arguments) };
        self.wait(sent.unwrap_or(0), reads);
    }

    fn wait(&mut self, sent: usize, reads: &mut [Read<'_>]) {
        let mut events = vec![Event::default(); sent];
        let mut come = 0;
        while come < sent {
            let left = &mut events[come..];
            let arguments = [self.0 as usize, left.len(), left.len(), left.as_mut_ptr() as usize, 0];
            // SAFETY: the kernel writes no more events than there is room for.
            #[allow(unsafe_code)]
            match unsafe { call(libc::SYS_io_getevents, arguments) } {
                Ok(n) => come += n,
                Err(Errno::INTR) => {}
                // It cannot be. Ending it all waits for what is on its way.
                Err(_) => {
                    self.end();
                    return;
                }
            }
        }
        for event in events {
            if let Some(read) = usize::try_from(event.data).ok().and_then(|nth| reads.get_mut(nth)) {
                read.result = usize::try_from(event.result).map_err(|_| Errno::from_raw_os_error(-event.result as i32));
            }
        }
    }

    fn end(&mut self) {
        // SAFETY: takes a number only.
        #[allow(unsafe_code)]
        let _ = unsafe { call(libc::SYS_io_destroy, [std::mem::take(&mut self.0) as usize, 0, 0, 0, 0]) };
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.end();
    }
}
