//! Addresses of a subnet, given out and taken back.

use crate::base::{Error, Result};
use std::net::Ipv4Addr;

/// The addresses of one subnet. The next address given out is the next free one after the last, so that one that has just been
/// freed is not used again at once: neighbours still have it in their tables, and the kernel needs some time to remove what
/// had it.
#[derive(Clone, Debug)]
pub struct Pool {
    network: u32,
    prefix: u8,
    used: Vec<u64>,
    next: u32,
}

impl Pool {
    /// The pool of a subnet (`10.0.0.0/16`); its first and last address are never given out.
    pub fn new(network: Ipv4Addr, prefix: u8) -> Result<Pool> {
        if !(8..=30).contains(&prefix) {
            return Err(Error::invalid(format!("a subnet with a prefix of {prefix} is not usable: 8 to 30 are")));
        }
        let size = 1u32 << (32 - prefix);
        let network = u32::from(network) & !(size - 1);
        let mut pool = Pool { network, prefix, used: vec![0; size.div_ceil(64) as usize], next: 1 };
        pool.mark(0);
        pool.mark(size - 1);
        Ok(pool)
    }

    fn size(&self) -> u32 {
        1 << (32 - self.prefix)
    }

    fn is_used(&self, i: u32) -> bool {
        self.used[(i / 64) as usize] >> (i % 64) & 1 != 0
    }

    fn mark(&mut self, i: u32) {
        self.used[(i / 64) as usize] |= 1 << (i % 64);
    }

    fn index(&self, ip: Ipv4Addr) -> Option<u32> {
        u32::from(ip).checked_sub(self.network).filter(|i| *i < self.size())
    }

    /// The subnet's first address and prefix.
    pub fn subnet(&self) -> (Ipv4Addr, u8) {
        (Ipv4Addr::from(self.network), self.prefix)
    }

    /// Takes the next free address; `None` if all are in use.
    pub fn take(&mut self) -> Option<Ipv4Addr> {
        let size = self.size();
        let found = (0..size).map(|step| (self.next + step) % size).find(|i| !self.is_used(*i))?;
        self.mark(found);
        self.next = (found + 1) % size;
        Some(Ipv4Addr::from(self.network + found))
    }

    /// Takes this address; `false` if it is in use or not of the subnet.
    pub fn reserve(&mut self, ip: Ipv4Addr) -> bool {
        match self.index(ip).filter(|i| !self.is_used(*i)) {
            Some(i) => {
                self.mark(i);
                true
            }
            None => false,
        }
    }

    /// Gives an address back.
    pub fn free(&mut self, ip: Ipv4Addr) {
        if let Some(i) = self.index(ip).filter(|i| *i != 0 && *i != self.size() - 1) {
            self.used[(i / 64) as usize] &= !(1 << (i % 64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_order_and_come_back_late() {
        let mut pool = Pool::new(Ipv4Addr::new(10, 9, 8, 77), 29).unwrap();
        assert_eq!(pool.subnet(), (Ipv4Addr::new(10, 9, 8, 72), 29));
        assert!(pool.reserve(Ipv4Addr::new(10, 9, 8, 73)) && !pool.reserve(Ipv4Addr::new(10, 9, 8, 73)));
        assert!(!pool.reserve(Ipv4Addr::new(10, 9, 8, 72)) && !pool.reserve(Ipv4Addr::new(10, 9, 9, 1)));
        let last = |ip: Option<Ipv4Addr>| ip.map(|ip| ip.octets()[3]);
        assert_eq!((last(pool.take()), last(pool.take())), (Some(74), Some(75)));
        pool.free(Ipv4Addr::new(10, 9, 8, 74));
        assert_eq!(
            (last(pool.take()), last(pool.take()), last(pool.take()), last(pool.take())),
            (Some(76), Some(77), Some(78), Some(74))
        );
        assert_eq!(pool.take(), None);
        pool.free(Ipv4Addr::new(10, 9, 8, 72));
        assert_eq!(pool.take(), None);
        assert!(Pool::new(Ipv4Addr::UNSPECIFIED, 31).is_err());
    }
}
