//! Removing containers, renaming them, pruning.

use crate::base::{Error, Result};
use crate::engine::container::{After, Condition, Container, Status};
use crate::engine::{ConnId, Engine, Reply, kind, token};
use crate::reactor::now_ms;
use crate::wire::commit::Change;

impl Engine {
    /// `DELETE /containers/{id}`.
    pub fn remove(&mut self, id: &str, conn: ConnId, force: bool, volumes: bool) -> Result<()> {
        let c = self.containers.get(id).ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
        let name = &c.def.name;
        if c.state.status == Status::Removing {
            return Err(Error::conflict(format!("removal of container {id} is already in progress")));
        }
        let active = c.is_running() || c.starting.is_some() || c.state.status == Status::Restarting;
        if active && !force {
            let state = c.state.status;
            return Err(Error::conflict(match state {
                Status::Paused => format!("cannot remove container \"/{name}\": container is paused and must be unpaused first"),
                _ => format!(
                    "cannot remove container \"/{name}\": container is {}: stop the container before removing or force remove",
                    if state == Status::Restarting { "restarting" } else { "running" }
                ),
            }));
        }
        if active {
            return self.stop(id, conn, After::Remove { volumes }, None, Some(0));
        }
        self.remove_now(id, volumes);
        self.answer_durably(conn, Reply::Empty(204));
        Ok(())
    }

    /// Takes a container that does not run out of the tables and off the disk.
    pub fn remove_now(&mut self, id: &str, volumes: bool) {
        self.emit_container("destroy", id, &[]);
        self.answer_waiters(id, &[Condition::Removed, Condition::NextExit, Condition::NotRunning]);
        let Some(c) = self.containers.remove(id) else { return };
        self.reactor.cancel_timer(token(kind::STOP, c.number));
        self.reactor.cancel_timer(token(kind::RESTART, c.number));
        self.execs.retain(|_, e| e.container != id);
        if let Some(image) = self.images.by_id.get_mut(&c.image) {
            image.used_ms = Some(now_ms());
        }
        self.sweep_cgroup(&c.cgroup, id);
        let path = format!("containers/{id}");
        self.committer.change(if c.is_volatile() { Change::Discard { path } } else { Change::Trash { path } });
        let _ = std::fs::remove_dir_all(self.run_dir(id));
        if volumes {
            for name in &c.def.anonymous {
                if self.volume_users(name).is_empty() {
                    let _ = self.remove_volume(name, true);
                }
            }
        }
        self.empty_trash_soon();
    }

    /// `POST /containers/{id}/rename`.
    pub fn rename(&mut self, id: &str, name: &str) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(name);
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let old = self.containers.get(id).map(|c| c.def.name.clone()).unwrap_or_default();
        if old == name {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        self.check_name(name).map_err(|e| e.context("Error when allocating new name"))?;
        self.containers.rename(id, name);
        if let Some(def) = self.containers.get(id).map(|c| c.def.clone()) {
            self.save_definition(&def)?;
        }
        self.emit_container("rename", id, &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    /// `POST /containers/prune`: removes what has ended (or never ran) and is wanted.
    pub fn prune_containers(&mut self, wanted: &dyn Fn(&Container) -> bool) -> Vec<String> {
        let idle =
            |c: &&Container| matches!(c.state.status, Status::Created | Status::Exited | Status::Dead) && c.starting.is_none();
        let ids: Vec<String> = self.containers.all().filter(idle).filter(|c| wanted(c)).map(|c| c.id.clone()).collect();
        for id in &ids {
            self.remove_now(id, false);
        }
        ids
    }
}
