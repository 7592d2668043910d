//! The C entry point. std's own start-up code is not run, so that a shim costs nothing but the pages it touches.

/// The process's arguments as the kernel laid them out; read without a heap.
#[derive(Clone, Copy)]
pub struct Args {
    argc: usize,
    argv: *const *const core::ffi::c_char,
}

impl Args {
    fn get(&self, i: usize) -> &'static [u8] {
        if i >= self.argc {
            return b"";
        }
        // SAFETY: the kernel passes argc valid C strings, which live as long as the process.
        #[allow(unsafe_code)]
        unsafe {
            core::ffi::CStr::from_ptr(*self.argv.add(i)).to_bytes()
        }
    }

    /// The last path component of argv[0].
    pub fn name(&self) -> &'static [u8] {
        let name = self.get(0);
        let cut = name.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        &name[cut..]
    }

    /// The arguments as they are, at most 32, without a heap.
    pub fn list(&self) -> heapless::Vec<&'static [u8], 32> {
        (0..self.argc.min(32)).map(|i| self.get(i)).collect()
    }

    /// All arguments; bytes that are not UTF-8 are replaced.
    pub fn to_strings(self) -> Vec<String> {
        (0..self.argc).map(|i| String::from_utf8_lossy(self.get(i)).into_owned()).collect()
    }
}

/// Called by the C library's start-up code.
// SAFETY: `main` is the one symbol that the C start-up code looks for; nothing else in this binary defines it.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn main(argc: core::ffi::c_int, argv: *const *const core::ffi::c_char) -> core::ffi::c_int {
    crate::run(Args { argc: argc.max(0) as usize, argv })
}
