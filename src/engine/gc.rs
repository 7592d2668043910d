//! Making room: unused images go, the longest unused first, when that is asked for in daemon.json; what nobody needs any more goes
//! when the disk is short.
//!
//! Nothing is written to keep track: an image was used last when it came, or when the last container of it went; after a restart
//! of the daemon only the first is known, and the daily look comes a day after the start.

use crate::base::size::human;
use crate::base::time::{Time, human_duration};
use crate::engine::images::Image;
use crate::engine::jobs::Purpose;
use crate::engine::{Engine, kind, token};
use crate::image::Digest;
use crate::reactor::now_ms;
use crate::wire::commit::Change;
use crate::wire::worker::{Answer, Job as Task};
use std::collections::{BTreeMap, BTreeSet};

/// Between two looks at how long images have been unused; less only if they are to go sooner than that.
const DAY_MS: u64 = 24 * 3600 * 1000;
const SECOND_MS: u64 = 1000;
/// When the disk is short, an image still stays that long after its last use: somebody may be about to run it.
const GRACE_MS: u64 = 3600 * 1000;
/// How often a worker may ask for more room.
const MOST_ROUNDS: u32 = 8;

impl Engine {
    /// At start, and after each look.
    pub fn look_daily(&mut self) {
        if self.settings.gc.enabled && self.root.check_writable().is_ok() {
            self.reactor.set_timer(token(kind::GC, 0), now_ms() + self.settings.gc.unused_ms().clamp(SECOND_MS, DAY_MS));
        }
    }

    /// The day is over: what has been unused for too long goes, and what is left of work that was given up.
    pub fn daily_look(&mut self) {
        self.look_daily();
        let limit = self.settings.gc.unused_ms();
        for id in self.unused_images(limit) {
            self.remove_unused(id);
        }
        self.reclaim(Purpose::Daily);
    }

    /// A worker has told how much is free after a daily look.
    pub fn keep_free(&mut self, free: u64) {
        let missing = self.settings.gc.keep_free_bytes().saturating_sub(free);
        if missing > 0 && self.remove_for(missing) {
            self.empty_trash_soon();
        }
    }

    /// A worker lacks that many bytes. First goes what no image has; then, if that is asked for, unused images.
    pub fn make_room(&mut self, number: u32, bytes: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.rounds += 1;
        let round = job.rounds;
        let more = match round {
            1 => true,
            2..MOST_ROUNDS => {
                let again = std::mem::take(&mut self.orphans_found);
                (self.settings.gc.enabled && self.remove_for(bytes)) || again
            }
            _ => false,
        };
        match more {
            true => self.reclaim(Purpose::Room { job: number }),
            false => self.answer_worker(number, Answer::No),
        }
    }

    /// Starts the worker that gives back what nobody needs, as soon as all that was removed is in the trash.
    pub fn reclaim(&mut self, purpose: Purpose) {
        if !self.committer.is_idle() {
            return self.reclaims.push(purpose);
        }
        let keep = self.jobs.values().flat_map(|j| j.pinned.iter().map(Digest::to_string)).collect();
        let known = self.images.by_id.values().flat_map(|i| i.layers.iter().map(Digest::to_string));
        let known: BTreeSet<String> = known.collect();
        let urgent = matches!(purpose, Purpose::Room { .. });
        let partials = urgent || purpose == Purpose::Prune { all: true };
        let task = Task::Reclaim { hold: self.layers_in_use(), keep, known: known.into_iter().collect(), partials, urgent };
        let waits = if let Purpose::Room { job } = purpose { Some(job) } else { None };
        if let Err(e) = self.spawn_worker(purpose, task, &[], Vec::new()) {
            log::warn!("making room: {e}");
            if let Some(job) = waits {
                self.answer_worker(job, Answer::No);
            }
        }
    }

    /// The committer has done something, and may be done with all by now.
    pub fn reclaim_due(&mut self) {
        for purpose in std::mem::take(&mut self.reclaims) {
            self.reclaim(purpose);
        }
    }

    /// Layers that no image had when a worker looked: those that still nobody wants go.
    pub fn orphans(&mut self, layers: &[String]) {
        for layer in layers.iter().filter_map(|l| Digest::parse(l).ok()) {
            if self.images.layer_users(&layer) == 0 && !self.layer_is_pinned(&layer) {
                log::info!("layer {layer} belongs to no image: removed");
                self.committer.change(Change::Trash { path: format!("layers/sha256/{}", layer.hex()) });
                self.orphans_found = true;
            }
        }
    }

    /// Removes the longest unused images until that many bytes are free. If all together would not do, nothing is removed.
    fn remove_for(&mut self, bytes: u64) -> bool {
        let mut chosen = Vec::new();
        let mut freed = 0;
        for id in self.unused_images(GRACE_MS) {
            if freed >= bytes {
                break;
            }
            chosen.push(id);
            freed = self.freed_by(&chosen);
        }
        if freed < bytes || chosen.is_empty() {
            return false;
        }
        chosen.into_iter().for_each(|id| self.remove_unused(id));
        true
    }

    /// Bytes of the layers that go with these images.
    fn freed_by(&self, ids: &[Digest]) -> u64 {
        let (going, staying): (Vec<&Image>, Vec<&Image>) = self.images.by_id.values().partition(|i| ids.contains(&i.id));
        let mut layers: BTreeMap<Digest, u64> =
            going.iter().flat_map(|i| i.layers.iter().copied().zip(i.sizes.iter().copied())).collect();
        layers.retain(|layer, _| !self.layer_is_pinned(layer) && !staying.iter().any(|i| i.layers.contains(layer)));
        layers.values().sum()
    }

    /// Images that no container and no job needs, and that have been unused for at least so long; the longest unused first.
    fn unused_images(&self, at_least_ms: u64) -> Vec<Digest> {
        let free = self
            .images
            .by_id
            .values()
            .filter(|i| !i.in_store && !self.containers.all().any(|c| c.image == i.id) && !self.is_pulling(i));
        let mut all: Vec<(u64, Digest)> =
            free.map(|i| (self.unused_ms(i), i.id)).filter(|(unused, _)| *unused >= at_least_ms).collect();
        all.sort_by_key(|(unused, id)| (std::cmp::Reverse(*unused), *id));
        all.into_iter().map(|(_, id)| id).collect()
    }

    fn is_pulling(&self, image: &Image) -> bool {
        !image.layers.is_empty()
            && self.jobs.values().any(|j| !j.pinned.is_empty() && image.layers.iter().all(|l| j.pinned.contains(l)))
    }

    /// How long nobody has used it.
    fn unused_ms(&self, image: &Image) -> u64 {
        let up = now_ms().saturating_sub(self.started_ms);
        match image.used_ms {
            Some(at) => now_ms().saturating_sub(at),
            None if !Time(image.pulled).is_plausible() => up,
            None => u64::try_from((Time::now().0 - image.pulled) / 1_000_000).unwrap_or(up),
        }
    }

    fn remove_unused(&mut self, id: Digest) {
        let Some(image) = self.images.by_id.get(&id) else { return };
        let unused = human_duration(self.unused_ms(image) as i64 / 1000);
        let (tags, digests) = self.images.names(id);
        let name = tags.into_iter().chain(digests).next().unwrap_or_else(|| id.to_string());
        log::info!("image {name} ({}) is removed: unused for {}", human(image.size()), unused.to_lowercase());
        self.drop_image(id, &mut Vec::new());
    }
}
