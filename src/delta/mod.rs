//! Floor 3: deltas. From the layers that a device has and a small file it makes the exact tar of another layer.

mod ahead;
pub mod apply;
pub mod artifact;
pub mod balena;
pub mod base;
pub mod blocks;
pub mod choose;
pub mod create;
pub mod format;
mod group;
pub mod images;
pub mod layout;
pub mod make;
mod numbers;
pub mod place;
mod program;
pub mod releases;
pub mod rsync;
pub mod rsync_create;
pub mod saved;
pub mod suffix;
mod unpack;

pub use format::Head;
use prtiql_predict as predict;

/// The most copies of one file.
const MOST_COPIES: u32 = 32 * 1024;
/// The longest copy; a longer one is several.
const LONGEST_COPY: u64 = 128 << 10;
/// Addresses of larger files are not foretold: their modes, one for each 4 KiB, are held in memory.
const LARGEST_PROGRAM: u64 = 1 << 30;

/// Bits of an entry's flags.
mod flag {
    /// The headers that this entry's follow from: the low two bits.
    pub const FROM: u8 = 3;
    /// Those of the next entry of the base.
    pub const NEXT: u8 = 0;
    /// Those of another entry of the base.
    pub const OTHER: u8 = 1;
    /// The main header of the entry before.
    pub const LAST: u8 = 2;
    /// None: they are told as they are.
    pub const RAW: u8 = 3;
    /// The path is another.
    pub const PATH: u8 = 1 << 2;
    /// The time is another.
    pub const TIME: u8 = 1 << 3;
    /// The size is another.
    pub const SIZE: u8 = 1 << 4;
    /// Further bytes are others.
    pub const PATCH: u8 = 1 << 5;
    /// The body: the high two bits.
    pub const BODY: u8 = 3 << 6;
    /// The body of the entry of the base that the headers are from; none if it is the last entry's, or raw.
    pub const SAME: u8 = 0;
    /// The body of another entry of the base.
    pub const ELSEWHERE: u8 = 1 << 6;
    /// Copies and literals.
    pub const PIECES: u8 = 2 << 6;
}
