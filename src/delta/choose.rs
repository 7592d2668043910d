//! Which delta to take: what lists of referrers offer, what is here already, and what a plain pull would bring decide.

use crate::delta::artifact::{Offer, TYPE};
use crate::image::Digest;
use crate::registry::{Failure, Referrer, Repository};
use std::collections::BTreeMap;

/// The most offers that are looked at.
const MOST_OFFERS: usize = 1000;
/// The most bases whose own deltas are looked for.
const MOST_MIDDLES: usize = 3;

/// A delta that a registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Length of its manifest.
    pub manifest_size: u64,
    /// The platform manifest that it leads to.
    pub subject: Digest,
    /// What it says of itself.
    pub offer: Offer,
}

/// What to do: one delta, or two, the second of which stands on what the first makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are applied.
    pub hops: Vec<Listed>,
    /// Bytes to fetch, the artifacts' manifests included.
    pub size: u64,
    /// Bytes to write beyond whole copies.
    pub written: u64,
}

impl Listed {
    /// An entry of a list of referrers of `subject`; none if it makes no sense.
    pub fn of(entry: &Referrer, subject: &Digest) -> Option<Listed> {
        let offer = Offer::read(&entry.annotations).ok().filter(|_| entry.artifact_type == TYPE)?;
        Some(Listed { manifest: entry.digest, manifest_size: entry.size, subject: *subject, offer })
    }

    /// Bytes to fetch.
    fn cost(&self) -> u64 {
        self.offer.size.saturating_add(self.manifest_size)
    }
}

/// What is here, looked up once each.
struct Here<'a> {
    has: &'a mut dyn FnMut(&Digest) -> bool,
    known: BTreeMap<Digest, bool>,
}

impl Here<'_> {
    fn all(&mut self, layers: &[Digest]) -> bool {
        layers.iter().all(|layer| *self.known.entry(*layer).or_insert_with(|| (self.has)(layer)))
    }
}

/// The cheapest way to the image of the manifest `target`: all layers of the base are here; fewest bytes to fetch, then fewest to write;
/// only if a plain pull would fetch more than that, which are `plain` bytes. `has` says whether a layer is here.
pub fn choose(offers: &[Listed], target: &Digest, plain: u64, has: &mut dyn FnMut(&Digest) -> bool) -> Option<Plan> {
    let mut here = Here { has, known: BTreeMap::new() };
    let usable: Vec<(&Listed, bool)> =
        offers.iter().take(MOST_OFFERS).filter(|o| o.cost() < plain).map(|o| (o, here.all(&o.offer.base_layers))).collect();
    // Ways to an image from what is here, by its ID: the cheapest of each.
    let mut first: BTreeMap<Digest, &Listed> = BTreeMap::new();
    for (offer, _) in usable.iter().filter(|(_, can)| *can) {
        let rank = |o: &Listed| (o.cost(), o.offer.written, o.manifest);
        first
            .entry(offer.offer.target)
            .and_modify(|best| *best = if rank(offer) < rank(best) { offer } else { best })
            .or_insert(offer);
    }
    let mut best: Option<Plan> = None;
    for (offer, can) in usable.iter().filter(|(offer, _)| offer.subject == *target) {
        let hops = match (can, first.get(&offer.offer.base)) {
            (true, _) => vec![*offer],
            (false, Some(middle)) if middle.subject != *target => vec![*middle, *offer],
            _ => continue,
        };
        let sum = |of: fn(&Listed) -> u64| hops.iter().map(|hop| of(hop)).fold(0, u64::saturating_add);
        let (size, written) = (sum(Listed::cost), sum(|hop| hop.offer.written));
        let rank =
            |plan: &Plan| (plan.size, plan.written, plan.hops.len(), plan.hops.iter().map(|h| h.manifest).collect::<Vec<_>>());
        let plan = Plan { hops: hops.into_iter().cloned().collect(), size, written };
        if size < plain && best.as_ref().is_none_or(|best| rank(&plan) < rank(best)) {
            best = Some(plan);
        }
    }
    best
}

/// The manifests of bases that are not here, but to which a delta might lead: worth a request each.
fn middles(offers: &[Listed], plain: u64, has: &mut dyn FnMut(&Digest) -> bool) -> Vec<Digest> {
    let mut here = Here { has, known: BTreeMap::new() };
    let mut found: Vec<(u64, Digest)> = Vec::new();
    for offer in offers.iter().take(MOST_OFFERS).filter(|o| o.cost() < plain) {
        let Some(manifest) = offer.offer.base_manifest else { continue };
        if !here.all(&offer.offer.base_layers) && !found.iter().any(|(_, m)| *m == manifest) {
            found.push((offer.cost(), manifest));
        }
    }
    found.sort();
    found.into_iter().take(MOST_MIDDLES).map(|(_, manifest)| manifest).collect()
}

/// All deltas to the image of a platform manifest that a repository has.
pub fn offers(repository: &mut Repository<'_>, target: &Digest) -> Result<Vec<Listed>, Failure> {
    let entries = repository.referrers(target, TYPE)?;
    Ok(entries.iter().filter_map(|entry| Listed::of(entry, target)).collect())
}

/// Looks for the cheapest way in a repository, by one list, or where no base is here by those of up to three more.
pub fn find(
    repository: &mut Repository<'_>,
    target: &Digest,
    plain: u64,
    has: &mut dyn FnMut(&Digest) -> bool,
) -> Result<Option<Plan>, Failure> {
    let mut all = offers(repository, target)?;
    let plan = choose(&all, target, plain, has);
    if plan.is_some() {
        return Ok(plan);
    }
    for middle in middles(&all, plain, has) {
        // What cannot be looked up is no way.
        all.extend(offers(repository, &middle).unwrap_or_default());
    }
    Ok(choose(&all, target, plain, has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::artifact::tests::made;

    fn offer(base: &str, target: &str, size: u64) -> Listed {
        let artifact = made(base, target, size);
        let manifest = artifact.manifest().unwrap();
        Listed::of(&artifact.entry(&manifest), &artifact.subject.digest).unwrap()
    }

    fn chosen(offers: &[Listed], plain: u64, here: &[&str]) -> Option<Vec<Digest>> {
        let here: Vec<Digest> = here.iter().map(|layer| Digest::of(layer.as_bytes())).collect();
        let plan = choose(offers, &Digest::of(b"t-manifest"), plain, &mut |layer| here.contains(layer))?;
        assert_eq!(plan.size, plan.hops.iter().map(Listed::cost).sum::<u64>());
        Some(plan.hops.iter().map(|hop| hop.offer.base).collect())
    }

    #[test]
    fn the_cheapest_way_is_taken() {
        let of = |bases: &[&str]| Some(bases.iter().map(|b| Digest::of(b.as_bytes())).collect::<Vec<_>>());
        let offers =
            [offer("a", "t", 50_000), offer("b", "t", 10_000), offer("c", "b", 20_000), offer("d", "c", 10), offer("t", "b", 1)];
        let (a, b, c, d) = (["a0", "a1"], ["b0", "b1"], ["c0", "c1"], ["d0", "d1"]);
        assert_eq!(chosen(&offers, 1 << 30, &[]), None);
        assert_eq!(chosen(&offers, 1 << 30, &a), of(&["a"]));
        assert_eq!(chosen(&offers, 1 << 30, &a[..1]), None);
        assert_eq!(chosen(&offers, 1 << 30, &[a, b].concat()), of(&["b"]));
        // Two hops, and never three.
        assert_eq!(chosen(&offers, 1 << 30, &c), of(&["c", "b"]));
        assert_eq!(chosen(&offers, 1 << 30, &[a, c].concat()), of(&["c", "b"]));
        assert_eq!(chosen(&offers, 1 << 30, &d), None);
        // Not where a plain pull is as cheap; the artifact's own manifest counts.
        assert_eq!(chosen(&offers, 50_001, &a), None);
        assert_eq!(chosen(&offers, 32_000, &c), None);
        let middles = middles(&offers[..2], 1 << 30, &mut |_| false);
        assert_eq!(middles, [Digest::of(b"b-manifest"), Digest::of(b"a-manifest")]);
    }

    #[test]
    fn of_two_equal_sizes_the_one_that_writes_less_is_taken() {
        let (mut one, mut two) = (offer("a", "t", 1000), offer("b", "t", 1000));
        (one.manifest_size, two.manifest_size) = (500, 500);
        one.offer.written += 1;
        assert_eq!(chosen(&[one.clone(), two.clone()], 9999, &["a0", "a1", "b0", "b1"]), Some(vec![two.offer.base]));
        two.offer.size += 1;
        assert_eq!(chosen(&[one.clone(), two], 9999, &["a0", "a1", "b0", "b1"]), Some(vec![one.offer.base]));
        one.offer.size = u64::MAX;
        assert_eq!(chosen(&[one], u64::MAX, &["a0", "a1"]), None);
    }
}
