//! Attach: the client's connection goes to the shim, now or when the container starts.

use crate::base::{Error, Result};
use crate::engine::Engine;
use crate::engine::container::{PendingAttach, Status};

/// At most so many clients wait for a start.
const WAITING: usize = 8;

impl Engine {
    /// Refuses an attach that cannot be; asked before the connection is taken from HTTP.
    pub fn check_attach(&self, id: &str) -> Result<()> {
        let c = self.containers.get(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        match c.state.status {
            Status::Paused => Err(Error::conflict(format!("container {id} is paused, unpause the container before attach"))),
            Status::Restarting => {
                Err(Error::conflict(format!("container {id} is restarting, wait until the container is running")))
            }
            _ if c.pending.len() >= WAITING => {
                Err(Error::unavailable(format!("{WAITING} clients wait for container {id} already")))
            }
            _ => Ok(()),
        }
    }

    /// Takes a client's connection over.
    pub fn attach(&mut self, id: &str, attach: PendingAttach) {
        let Some(c) = self.containers.get_mut(id) else { return };
        match c.link {
            Some(link) => self.send_attach(link, attach),
            None => c.pending.push(attach),
        }
        self.emit_container("attach", id, &[]);
    }
}
