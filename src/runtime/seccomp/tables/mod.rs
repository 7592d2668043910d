//! Numbers of system calls, and Docker's default profile, by machine. The files are made by `scripts/seccomp_tables.py`.

#[cfg(any(test, target_arch = "aarch64"))]
mod aarch64;
#[cfg(any(test, target_arch = "arm", target_arch = "aarch64"))]
mod arm;
#[cfg(any(test, target_arch = "riscv64"))]
mod riscv64;
#[cfg(any(test, target_arch = "x86_64", target_arch = "x86"))]
mod x86;
#[cfg(any(test, target_arch = "x86_64"))]
mod x86_64;

/// Calls that Docker's profile treats alike.
pub struct Group {
    /// Only with all of these capabilities.
    pub with: u64,
    /// Only without any of these.
    pub without: u64,
    /// The error that the call gives; 0 lets it through.
    pub errno: u16,
    /// Conditions: argument, operator, value, second value.
    pub args: &'static [(u32, &'static str, u64, u64)],
    /// Numbers, from and to.
    pub calls: &'static [(u32, u32)],
}

/// A machine as seccomp sees it.
pub struct Machine {
    /// `AUDIT_ARCH_…`.
    pub audit: u32,
    /// Arguments have 64 bits.
    pub wide: bool,
    /// The highest number (arm has a few private ones far above).
    pub last: u32,
    /// Names and numbers, one pair a line.
    pub names: &'static str,
    /// Docker's default profile.
    pub docker: &'static [Group],
}

/// x86-64.
#[cfg(any(test, target_arch = "x86_64"))]
pub const X86_64: Machine =
    Machine { audit: 0xc000_003e, wide: true, last: x86_64::LAST, names: x86_64::NAMES, docker: x86_64::DOCKER };
/// x86, 32 bits.
#[cfg(any(test, target_arch = "x86_64", target_arch = "x86"))]
pub const X86: Machine = Machine { audit: 0x4000_0003, wide: false, last: x86::LAST, names: x86::NAMES, docker: x86::DOCKER };
/// ARM, 64 bits.
#[cfg(any(test, target_arch = "aarch64"))]
pub const AARCH64: Machine =
    Machine { audit: 0xc000_00b7, wide: true, last: aarch64::LAST, names: aarch64::NAMES, docker: aarch64::DOCKER };
/// ARM, 32 bits.
#[cfg(any(test, target_arch = "arm", target_arch = "aarch64"))]
pub const ARM: Machine = Machine { audit: 0x4000_0028, wide: false, last: arm::LAST, names: arm::NAMES, docker: arm::DOCKER };
/// RISC-V, 64 bits.
#[cfg(any(test, target_arch = "riscv64"))]
pub const RISCV64: Machine =
    Machine { audit: 0xc000_00f3, wide: true, last: riscv64::LAST, names: riscv64::NAMES, docker: riscv64::DOCKER };

/// What this program was built for first, then what else the same kernel can run.
pub const HERE: &[Machine] = &[
    #[cfg(target_arch = "x86_64")]
    X86_64,
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    X86,
    #[cfg(target_arch = "aarch64")]
    AARCH64,
    #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
    ARM,
    #[cfg(target_arch = "riscv64")]
    RISCV64,
];
