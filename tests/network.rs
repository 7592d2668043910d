//! The network in namespaces of its own: a "host" and a "world" beyond it, containers behind a bridge, pings and connections
//! between them. Needs root; everything is gone when the test process ends.

use prtiql::network::{bridge, link, nat, pool::Pool, veth};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process in a network namespace of its own.
struct Namespace(Child);

impl Namespace {
    fn new() -> Namespace {
        let child = Command::new("unshare").args(["-n", "sleep", "1000"]).stdin(Stdio::null()).spawn().expect("unshare");
        let ns = Namespace(child);
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        for _ in 0..200 {
            if std::fs::read_link(format!("/proc/{}/ns/net", ns.pid())).is_ok_and(|other| other != own) {
                return ns;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no namespace");
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    fn run(&self, command: &str) -> bool {
        let target = self.pid().to_string();
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &target, "-n", "sh", "-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        nsenter.status().unwrap().success()
    }

    fn output(&self, command: &str) -> String {
        let target = self.pid().to_string();
        let out = Command::new("nsenter").args(["-t", &target, "-n", "sh", "-c", command]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn plug(ns: &Namespace, bridge: &str, host_name: &str, address: &str, gateway: &str) {
    let ip = ip(address);
    let gateway = Some(self::ip(gateway));
    let attach =
        veth::Attach { bridge, pid: ns.pid(), host_name, name: "eth0", ip, prefix: 24, gateway, mac: veth::mac(ip), mtu: 1400 };
    veth::attach(&attach).unwrap();
    veth::loopback(ns.pid()).unwrap();
}

fn ping(ns: &Namespace, to: &str) -> bool {
    ns.run(&format!("busybox ping -c 1 -W 1 {to}"))
}

/// Everything in one test: it moves its own thread into a namespace of its own, which is then the "host".
#[test]
fn containers_reach_each_other_and_the_world_and_nobody_reaches_them() {
    prtiql::sys::clone::unshare(libc::CLONE_NEWNET).expect("root is needed");
    prtiql::sys::netif::up("lo").unwrap();
    assert!(std::fs::exists("/bin/busybox").unwrap(), "busybox-static is needed");

    let mut pool = Pool::new(ip("10.88.7.0"), 24).unwrap();
    assert!(pool.reserve(ip("10.88.7.1")));
    for _ in 0..2 {
        bridge::ensure("pq0", ip("10.88.7.1"), 24, 0).unwrap(); // twice: it is idempotent
    }
    bridge::forwarding().unwrap();
    let network = nat::Network { bridge: "pq0", subnet: ip("10.88.7.0"), prefix: 24, masquerade: true };
    nat::ensure(&network).unwrap();
    nat::ensure(&network).unwrap();
    nat::ensure(&nat::Network { masquerade: false, ..network.clone() }).unwrap();
    nat::ensure(&network).unwrap();

    let (a, b, world) = (Namespace::new(), Namespace::new(), Namespace::new());
    let (ip_a, ip_b) = (pool.take().unwrap().to_string(), pool.take().unwrap().to_string());
    plug(&a, "pq0", "veth-a", &ip_a, "10.88.7.1");
    plug(&b, "pq0", "veth-b", &ip_b, "10.88.7.1");
    let text = a.output("ip addr show eth0; ip route; ip link show eth0");
    assert!(text.contains(&format!("inet {ip_a}/24 brd 10.88.7.255")), "{text}");
    assert!(!text.contains("inet6 fe80"), "{text}");
    assert!(text.contains("default via 10.88.7.1") && text.contains("02:42:0a:58:07:02") && text.contains("mtu 1400"), "{text}");

    // the world: a host that knows no route back to the containers
    bridge::ensure("up0", ip("192.168.77.1"), 24, 0).unwrap();
    plug(&world, "up0", "veth-w", "192.168.77.2", "192.168.77.1");
    assert!(world.run("ip route del default"));

    assert!(ping(&a, "127.0.0.1"), "loopback");
    assert!(ping(&a, "10.88.7.1"), "container to host");
    assert!(ping(&a, &ip_b) && ping(&b, &ip_a), "container to container");
    assert!(ping(&a, "192.168.77.2"), "container to the world, masqueraded");
    assert!(world.run("ip route add 10.88.7.0/24 via 192.168.77.1"));
    assert!(!ping(&world, &ip_a), "the world to a container, uninvited");

    // the host's own listener sees the container's true address
    let listener = TcpListener::bind("10.88.7.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(a.run(&format!("busybox nc -w 2 10.88.7.1 {port} </dev/null & sleep 0.3")));
    let (_, SocketAddr::V4(from)) = listener.accept().unwrap() else { panic!("not IPv4") };
    assert_eq!(from.ip().to_string(), ip_a);
    assert!(TcpStream::connect_timeout(&format!("{ip_b}:9").parse().unwrap(), Duration::from_secs(1)).is_err());

    nat::remove("pq0").unwrap();
    nat::remove("pq0").unwrap();
    assert!(world.run("ip route del 10.88.7.0/24"));
    assert!(!ping(&a, "192.168.77.2"), "without the table nothing comes back");

    drop(a);
    let socket = prtiql::network::Socket::route().unwrap();
    for _ in 0..300 {
        if link::get(&socket, "veth-a").unwrap().is_none() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(link::get(&socket, "veth-a").unwrap().is_none(), "the pair goes with its namespace");
    link::delete(&socket, "veth-b").unwrap();
    link::delete(&socket, "veth-b").unwrap();
    assert!(link::get(&socket, "pq0").unwrap().is_some_and(|l| l.kind == "bridge" && l.up));
    bridge::delete("pq0").unwrap();
    assert!(bridge::ensure("lo", ip("127.0.0.9"), 8, 0).unwrap_err().to_string().contains("is not a bridge"));
    assert!(bridge::ensure("name/with/slash", ip("10.1.1.1"), 8, 0).is_err());
}
