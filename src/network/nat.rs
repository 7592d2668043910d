//! Address translation and the guard of the containers' networks, as one table of nf_tables for each bridge. It is put in place by
//! one netlink batch, which the kernel takes as a whole or not at all; no `nft` program is needed.
//!
//! The table `prtiql-<bridge>` holds three chains: `postrouting` masquerades what leaves the subnet by another interface;
//! `forward` lets into the bridge only what containers asked for, what other containers of the bridge send, and what a
//! published port has translated; `prerouting` will translate published ports.

use super::netlink::{ACK, APPEND, Batch, CREATE, Socket, attributes};
use crate::base::{Context, Error, Result};
use rustix::io::Errno;
use std::net::Ipv4Addr;

const SUBSYSTEM: u16 = 10;
const NEWTABLE: u16 = SUBSYSTEM << 8;
const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

const FAMILY: [u8; 4] = [2, 0, 0, 0]; // ip, version 0
const BATCH: [u8; 4] = [0, 0, 0, SUBSYSTEM as u8];

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const POSTROUTING: u32 = 4;
const ACCEPT: u32 = 1;
const DROP: u32 = 0;

const IIFNAME: u32 = 6;
const OIFNAME: u32 = 7;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const STATUS_DNAT: u32 = 32;

/// One network.
#[derive(Clone, Debug)]
pub struct Network<'a> {
    /// The bridge.
    pub bridge: &'a str,
    /// First address of the subnet.
    pub subnet: Ipv4Addr,
    /// Its prefix.
    pub prefix: u8,
    /// Masquerade what leaves.
    pub masquerade: bool,
}

impl Network<'_> {
    fn table(&self) -> String {
        table(self.bridge)
    }

    /// What the table was made from, kept in it: a table that says the same need not be made again.
    fn mark(&self) -> String {
        format!("1 {} {}/{} {}", self.bridge, self.subnet, self.prefix, u8::from(self.masquerade))
    }
}

fn table(bridge: &str) -> String {
    format!("prtiql-{bridge}")
}

/// One rule: a list of expressions.
struct Rule<'a>(&'a mut Batch);

impl Rule<'_> {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Batch)) -> &mut Self {
        self.0.begin(1).text(1, name).begin(2);
        fill(self.0);
        self.0.end().end();
        self
    }

    fn compare(&mut self, equal: bool, value: &[u8]) -> &mut Self {
        self.expression("cmp", |b| {
            b.big(1, 1).big(2, u32::from(!equal)).begin(3).attr(1, value).end();
        })
    }

    /// The name of the interface that the packet came by or leaves by.
    fn interface(&mut self, which: u32, equal: bool, name: &str) -> &mut Self {
        let mut padded = [0u8; 16];
        let n = name.len().min(15);
        padded[..n].copy_from_slice(&name.as_bytes()[..n]);
        self.expression("meta", |b| {
            b.big(1, 1).big(2, which);
        });
        self.compare(equal, &padded)
    }

    fn masked(&mut self, mask: &[u8]) -> &mut Self {
        let zero = vec![0; mask.len()];
        self.expression("bitwise", |b| {
            b.big(1, 1).big(2, 1).big(3, mask.len() as u32).begin(4).attr(1, mask).end().begin(5).attr(1, &zero).end();
        })
    }

    fn source(&mut self, subnet: Ipv4Addr, prefix: u8) -> &mut Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        self.expression("payload", |b| {
            b.big(1, 1).big(2, 1).big(3, 12).big(4, 4); // network header, source address
        });
        self.masked(&mask.to_be_bytes()).compare(true, &(u32::from(subnet) & mask).to_be_bytes())
    }

    /// Any of `bits` is set in a property of the connection.
    fn connection(&mut self, key: u32, bits: u32) -> &mut Self {
        self.expression("ct", |b| {
            b.big(1, 1).big(2, key);
        });
        self.masked(&bits.to_ne_bytes()).compare(false, &[0; 4])
    }

    fn verdict(&mut self, code: u32) {
        self.expression("immediate", |b| {
            b.big(1, 0).begin(2).begin(2).big(1, code).end().end();
        });
    }
}

/// A batch, and what each message needs of the kernel.
#[derive(Default)]
struct Plan {
    batch: Batch,
    needs: Vec<(u32, &'static str)>,
}

impl Plan {
    fn message(&mut self, kind: u16, flags: u16, needs: &'static str) -> &mut Batch {
        let sequence = self.batch.message(kind, flags, &FAMILY);
        self.needs.push((sequence, needs));
        &mut self.batch
    }

    fn chain(&mut self, table: &str, name: &str, kind: &str, hook: u32, priority: i32, needs: &'static str) {
        let b = self.message(NEWCHAIN, CREATE, needs);
        b.text(1, table).text(3, name).begin(4).big(1, hook).big(2, priority as u32).end().big(5, ACCEPT).text(7, kind);
    }

    fn rule(&mut self, table: &str, chain: &str, flags: u16, needs: &'static str, fill: impl FnOnce(&mut Rule<'_>)) {
        let b = self.message(NEWRULE, CREATE | APPEND | flags, needs);
        b.text(1, table).text(2, chain).begin(4);
        fill(&mut Rule(b));
        b.end();
    }
}

fn plan(n: &Network<'_>) -> Plan {
    let (mut p, t) = (Plan::default(), n.table());
    p.batch.message(BATCH_BEGIN, 0, &BATCH);
    // made, removed, made: whatever was there before is gone, and its absence is no error
    p.message(NEWTABLE, CREATE, "CONFIG_NF_TABLES, CONFIG_NF_TABLES_IPV4").text(1, &t);
    p.message(DELTABLE, 0, "CONFIG_NF_TABLES").text(1, &t);
    p.message(NEWTABLE, CREATE, "CONFIG_NF_TABLES").text(1, &t).attr(6, n.mark().as_bytes());
    p.chain(&t, "prerouting", "nat", PREROUTING, -100, "CONFIG_NFT_NAT, CONFIG_NF_NAT");
    p.chain(&t, "postrouting", "nat", POSTROUTING, 100, "CONFIG_NFT_NAT, CONFIG_NF_NAT");
    p.chain(&t, "forward", "filter", FORWARD, 0, "CONFIG_NF_TABLES_IPV4");
    if n.masquerade {
        p.rule(&t, "postrouting", 0, "CONFIG_NFT_MASQ", |r| {
            r.source(n.subnet, n.prefix).interface(OIFNAME, false, n.bridge).expression("masq", |_| {});
        });
    }
    p.rule(&t, "forward", 0, "CONFIG_NFT_CT, CONFIG_NF_CONNTRACK", |r| {
        r.interface(OIFNAME, true, n.bridge).connection(CT_STATE, ESTABLISHED_OR_RELATED).verdict(ACCEPT);
    });
    p.rule(&t, "forward", 0, "CONFIG_NFT_CT, CONFIG_NF_CONNTRACK", |r| {
        r.interface(OIFNAME, true, n.bridge).connection(CT_STATUS, STATUS_DNAT).verdict(ACCEPT);
    });
    p.rule(&t, "forward", ACK, "CONFIG_NF_TABLES", |r| {
        r.interface(OIFNAME, true, n.bridge).interface(IIFNAME, false, n.bridge).verdict(DROP);
    });
    p.batch.message(BATCH_END, 0, &BATCH);
    p
}

fn open() -> Result<Socket> {
    Socket::open(Some(rustix::net::netlink::NETFILTER)).map_err(|e| match e {
        Errno::PROTONOSUPPORT => Error::unsupported("the kernel has no netfilter sockets (CONFIG_NETFILTER_NETLINK)"),
        e => Error::from(e).context("open a netfilter socket"),
    })
}

/// Makes sure that the network's table is there and says what it should. An error of the kind `Unsupported` names the kernel's
/// option that is missing: containers then have no way out, all else works.
pub fn ensure(n: &Network<'_>) -> Result<()> {
    let socket = open()?;
    if is_there(&socket, n)? {
        return Ok(());
    }
    let mut p = plan(n);
    let Err((at, e)) = socket.apply(&mut p.batch) else { return Ok(()) };
    let needs = p.needs.iter().find(|(sequence, _)| *sequence == at).map_or("CONFIG_NF_TABLES", |(_, needs)| needs);
    let what = format!("address translation for {}", n.bridge);
    Err(match e {
        Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::NOENT | Errno::PROTONOSUPPORT | Errno::INVAL => {
            Error::unsupported(format!("{what}: the kernel lacks {needs} ({})", crate::base::error::errno_text(e)))
        }
        e => Error::from(e).context(what),
    })
}

fn is_there(socket: &Socket, n: &Network<'_>) -> Result<bool> {
    let mut b = Batch::default();
    b.message(GETTABLE, ACK, &FAMILY);
    b.text(1, &n.table());
    let answers = socket.send(&mut b).context(|| "look the table of address translation up")?;
    let mark = n.mark();
    Ok(answers
        .iter()
        .filter(|a| a.result.is_none())
        .any(|a| attributes(a.body.get(4..).unwrap_or_default()).any(|(kind, value)| kind == 6 && value == mark.as_bytes())))
}

/// Removes the network's table; one that is not there is no error.
pub fn remove(bridge: &str) -> Result<()> {
    let socket = open()?;
    let mut b = Batch::default();
    b.message(BATCH_BEGIN, 0, &BATCH);
    b.message(DELTABLE, ACK, &FAMILY);
    b.text(1, &table(bridge));
    b.message(BATCH_END, 0, &BATCH);
    match socket.apply(&mut b) {
        Ok(()) | Err((_, Errno::NOENT)) => Ok(()),
        Err((_, e)) => Err(e).context(|| format!("remove the table of {bridge}")),
    }
}
