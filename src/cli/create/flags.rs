//! The flags of `run` and `create`.

use argh::{ArgsInfo, FromArgs};

/// create and run a new container from an image
#[derive(FromArgs, ArgsInfo, Default)]
pub struct Flags {
    /// add a custom host-to-IP mapping (host:ip)
    #[argh(option)]
    pub add_host: Vec<String>,
    /// add an annotation to the container
    #[argh(option)]
    pub annotation: Vec<String>,
    /// attach to STDIN, STDOUT or STDERR
    #[argh(option, short = 'a')]
    pub attach: Vec<String>,
    /// block IO (relative weight), between 10 and 1000, or 0 to disable
    #[argh(option, default = "0")]
    pub blkio_weight: u16,
    /// block IO weight (relative device weight)
    #[argh(option)]
    pub blkio_weight_device: Vec<String>,
    /// add Linux capabilities
    #[argh(option)]
    pub cap_add: Vec<String>,
    /// drop Linux capabilities
    #[argh(option)]
    pub cap_drop: Vec<String>,
    /// optional parent cgroup for the container
    #[argh(option, default = "String::new()")]
    pub cgroup_parent: String,
    /// cgroup namespace to use (host|private)
    #[argh(option, default = "String::new()")]
    pub cgroupns: String,
    /// write the container ID to the file
    #[argh(option, default = "String::new()")]
    pub cidfile: String,
    /// limit CPU CFS period, in microseconds
    #[argh(option, default = "0")]
    pub cpu_period: i64,
    /// limit CPU CFS quota, in microseconds
    #[argh(option, default = "0")]
    pub cpu_quota: i64,
    /// limit CPU real-time period, in microseconds
    #[argh(option, default = "0")]
    pub cpu_rt_period: i64,
    /// limit CPU real-time runtime, in microseconds
    #[argh(option, default = "0")]
    pub cpu_rt_runtime: i64,
    /// cpu shares (relative weight)
    #[argh(option, short = 'c', default = "0")]
    pub cpu_shares: i64,
    /// number of CPUs
    #[argh(option, default = "String::new()")]
    pub cpus: String,
    /// cpus in which to allow execution (0-3, 0,1)
    #[argh(option, default = "String::new()")]
    pub cpuset_cpus: String,
    /// memory nodes in which to allow execution (0-3, 0,1)
    #[argh(option, default = "String::new()")]
    pub cpuset_mems: String,
    /// run the container in the background and print its ID
    #[argh(switch, short = 'd')]
    pub detach: bool,
    /// override the key sequence for detaching a container
    #[argh(option, default = "String::new()")]
    pub detach_keys: String,
    /// add a host device to the container
    #[argh(option)]
    pub device: Vec<String>,
    /// add a rule to the cgroup allowed devices list
    #[argh(option)]
    pub device_cgroup_rule: Vec<String>,
    /// limit read rate (bytes per second) from a device
    #[argh(option)]
    pub device_read_bps: Vec<String>,
    /// limit read rate (IO per second) from a device
    #[argh(option)]
    pub device_read_iops: Vec<String>,
    /// limit write rate (bytes per second) to a device
    #[argh(option)]
    pub device_write_bps: Vec<String>,
    /// limit write rate (IO per second) to a device
    #[argh(option)]
    pub device_write_iops: Vec<String>,
    /// skip image verification
    #[argh(option, arg_name = "bool", default = "true", hidden_help)]
    #[allow(dead_code)]
    pub disable_content_trust: bool,
    /// set custom DNS servers
    #[argh(option)]
    pub dns: Vec<String>,
    /// set DNS options
    #[argh(option, hidden_help)]
    pub dns_opt: Vec<String>,
    /// set DNS options
    #[argh(option)]
    pub dns_option: Vec<String>,
    /// set custom DNS search domains
    #[argh(option)]
    pub dns_search: Vec<String>,
    /// container NIS domain name
    #[argh(option, default = "String::new()")]
    pub domainname: String,
    /// overwrite the default ENTRYPOINT of the image
    #[argh(option)]
    pub entrypoint: Option<String>,
    /// set environment variables
    #[argh(option, short = 'e')]
    pub env: Vec<String>,
    /// read in a file of environment variables
    #[argh(option)]
    pub env_file: Vec<String>,
    /// expose a port or a range of ports
    #[argh(option)]
    pub expose: Vec<String>,
    /// GPU devices to add to the container: not part of this engine
    #[argh(option)]
    pub gpus: Option<String>,
    /// add additional groups to join
    #[argh(option)]
    pub group_add: Vec<String>,
    /// command to run to check health
    #[argh(option)]
    pub health_cmd: Option<String>,
    /// time between running the check (ms|s|m|h)
    #[argh(option, default = "String::new()")]
    pub health_interval: String,
    /// consecutive failures needed to report unhealthy
    #[argh(option, default = "0")]
    pub health_retries: i64,
    /// time between running the check during the start period (ms|s|m|h)
    #[argh(option, default = "String::new()")]
    pub health_start_interval: String,
    /// start period for the container to initialize before starting health-retries countdown (ms|s|m|h)
    #[argh(option, default = "String::new()")]
    pub health_start_period: String,
    /// maximum time to allow one check to run (ms|s|m|h)
    #[argh(option, default = "String::new()")]
    pub health_timeout: String,
    /// container host name
    #[argh(option, short = 'h', default = "String::new()")]
    pub hostname: String,
    /// run an init inside the container that forwards signals and reaps processes
    #[argh(option, arg_name = "bool")]
    pub init: Option<bool>,
    /// keep STDIN open even if not attached
    #[argh(switch, short = 'i')]
    pub interactive: bool,
    /// container IPv4 address
    #[argh(option, default = "String::new()")]
    pub ip: String,
    /// container IPv6 address
    #[argh(option, default = "String::new()")]
    pub ip6: String,
    /// IPC mode to use
    #[argh(option, default = "String::new()")]
    pub ipc: String,
    /// container isolation technology
    #[argh(option, default = "String::new()")]
    pub isolation: String,
    /// set metadata on a container
    #[argh(option, short = 'l')]
    pub label: Vec<String>,
    /// read in a line delimited file of labels
    #[argh(option)]
    pub label_file: Vec<String>,
    /// add link to another container
    #[argh(option)]
    pub link: Vec<String>,
    /// container IPv4/IPv6 link-local addresses
    #[argh(option)]
    pub link_local_ip: Vec<String>,
    /// logging driver for the container
    #[argh(option, default = "String::new()")]
    pub log_driver: String,
    /// log driver options
    #[argh(option)]
    pub log_opt: Vec<String>,
    /// container MAC address (92:d0:c6:0a:29:33)
    #[argh(option, default = "String::new()")]
    pub mac_address: String,
    /// memory limit
    #[argh(option, short = 'm', default = "String::new()")]
    pub memory: String,
    /// memory soft limit
    #[argh(option, default = "String::new()")]
    pub memory_reservation: String,
    /// swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[argh(option, default = "String::new()")]
    pub memory_swap: String,
    /// tune container memory swappiness (0 to 100)
    #[argh(option)]
    pub memory_swappiness: Option<i64>,
    /// attach a filesystem mount to the container
    #[argh(option)]
    pub mount: Vec<String>,
    /// assign a name to the container
    #[argh(option, default = "String::new()")]
    pub name: String,
    /// connect a container to a network
    #[argh(option, hidden_help)]
    pub net: Vec<String>,
    /// add network-scoped alias for the container
    #[argh(option, hidden_help)]
    pub net_alias: Vec<String>,
    /// connect a container to a network
    #[argh(option)]
    pub network: Vec<String>,
    /// add network-scoped alias for the container
    #[argh(option)]
    pub network_alias: Vec<String>,
    /// disable any container-specified HEALTHCHECK
    #[argh(switch)]
    pub no_healthcheck: bool,
    /// disable OOM killer
    #[argh(option, arg_name = "bool")]
    pub oom_kill_disable: Option<bool>,
    /// tune host's OOM preferences (-1000 to 1000)
    #[argh(option, default = "0")]
    pub oom_score_adj: i64,
    /// PID namespace to use
    #[argh(option, default = "String::new()")]
    pub pid: String,
    /// tune container pids limit (set -1 for unlimited)
    #[argh(option)]
    pub pids_limit: Option<i64>,
    /// set platform if server is multi-platform capable
    #[argh(option, default = "String::new()")]
    pub platform: String,
    /// give extended privileges to this container
    #[argh(switch)]
    pub privileged: bool,
    /// publish a container's port(s) to the host
    #[argh(option, short = 'p')]
    pub publish: Vec<String>,
    /// publish all exposed ports to random ports
    #[argh(switch, short = 'P')]
    pub publish_all: bool,
    /// pull image before running (always|missing|never)
    #[argh(option, default = "String::from(\"missing\")")]
    pub pull: String,
    /// suppress the pull output
    #[argh(switch, short = 'q')]
    pub quiet: bool,
    /// mount the container's root filesystem as read only
    #[argh(switch)]
    pub read_only: bool,
    /// restart policy to apply when a container exits
    #[argh(option, default = "String::new()")]
    pub restart: String,
    /// automatically remove the container when it exits
    #[argh(switch)]
    pub rm: bool,
    /// runtime to use for this container
    #[argh(option, default = "String::new()")]
    pub runtime: String,
    /// security options
    #[argh(option)]
    pub security_opt: Vec<String>,
    /// size of /dev/shm
    #[argh(option, default = "String::new()")]
    pub shm_size: String,
    /// proxy received signals to the process
    #[argh(option, arg_name = "bool", default = "true")]
    pub sig_proxy: bool,
    /// signal to stop the container
    #[argh(option)]
    pub stop_signal: Option<String>,
    /// timeout (in seconds) to stop a container
    #[argh(option)]
    pub stop_timeout: Option<i64>,
    /// storage driver options for the container
    #[argh(option)]
    pub storage_opt: Vec<String>,
    /// sysctl options
    #[argh(option)]
    pub sysctl: Vec<String>,
    /// mount a tmpfs directory
    #[argh(option)]
    pub tmpfs: Vec<String>,
    /// allocate a pseudo-TTY
    #[argh(switch, short = 't')]
    pub tty: bool,
    /// ulimit options
    #[argh(option)]
    pub ulimit: Vec<String>,
    /// username or UID (format: <name|uid>[:<group|gid>])
    #[argh(option, short = 'u', default = "String::new()")]
    pub user: String,
    /// user namespace to use
    #[argh(option, default = "String::new()")]
    pub userns: String,
    /// UTS namespace to use
    #[argh(option, default = "String::new()")]
    pub uts: String,
    /// bind mount a volume
    #[argh(option, short = 'v')]
    pub volume: Vec<String>,
    /// optional volume driver for the container
    #[argh(option, default = "String::new()")]
    pub volume_driver: String,
    /// mount volumes from the specified container(s)
    #[argh(option)]
    pub volumes_from: Vec<String>,
    /// working directory inside the container
    #[argh(option, short = 'w', default = "String::new()")]
    pub workdir: String,
    /// image
    #[argh(positional, arg_name = "IMAGE")]
    pub image: String,
    /// command and its arguments
    #[argh(positional, greedy, arg_name = "COMMAND")]
    pub command: Vec<String>,
}
