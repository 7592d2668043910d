//! What a worker gives up before it touches anything from outside: capabilities that its job does not need, and its place in
//! the queue when memory runs out.

use crate::layer::MASKED;
use crate::wire::worker::Job;
use rustix::fs::Mode;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Called once, before the job starts.
pub fn prepare(job: &Job) {
    // A worker is killed rather than the daemon or an application. Without /proc or the right, so be it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    // What the engine keeps for itself is for nobody else to write; modes from archives are set beside it.
    rustix::process::umask(Mode::from_raw_mode(MASKED));
    // These notice a closed socket at every wait, and clean up; a signal would leave half a layer lying about.
    let makes_layers =
        matches!(job, Job::Pull { .. } | Job::Layers { .. } | Job::Load { .. } | Job::Verify { repair: Some(_), .. });
    if makes_layers {
        let mut signals = nix::sys::signal::SigSet::empty();
        signals.add(nix::sys::signal::Signal::SIGTERM);
        let _ = signals.thread_block();
    }
    let files = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
    let keep = match job {
        // Devices, setuid bits, security.capability, and trusted.overlay.*.
        _ if makes_layers => {
            files | CapabilitySet::FSETID | CapabilitySet::MKNOD | CapabilitySet::SETFCAP | CapabilitySet::SYS_ADMIN
        }
        Job::Logs(_) => CapabilitySet::DAC_OVERRIDE,
        Job::RemoveCgroup { .. } => CapabilitySet::DAC_OVERRIDE | CapabilitySet::KILL,
        _ => files,
    };
    for capability in CapabilitySet::all().difference(keep).iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let Ok(now) = rustix::thread::capabilities(None) else { return };
    let kept = now.permitted & keep;
    // Fails only if it would add something, which it does not.
    let _ = rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    );
}
