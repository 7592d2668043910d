//! System calls of riscv64, and Docker's default profile for it. Made by scripts/seccomp_tables.py.

use super::Group;

/// Names and numbers.
pub const NAMES: &str = "\
io_setup 0\n\
io_destroy 1\n\
io_submit 2\n\
io_cancel 3\n\
io_getevents 4\n\
setxattr 5\n\
lsetxattr 6\n\
fsetxattr 7\n\
getxattr 8\n\
lgetxattr 9\n\
fgetxattr 10\n\
listxattr 11\n\
llistxattr 12\n\
flistxattr 13\n\
removexattr 14\n\
lremovexattr 15\n\
fremovexattr 16\n\
getcwd 17\n\
lookup_dcookie 18\n\
eventfd2 19\n\
epoll_create1 20\n\
epoll_ctl 21\n\
epoll_pwait 22\n\
dup 23\n\
dup3 24\n\
fcntl 25\n\
inotify_init1 26\n\
inotify_add_watch 27\n\
inotify_rm_watch 28\n\
ioctl 29\n\
ioprio_set 30\n\
ioprio_get 31\n\
flock 32\n\
mknodat 33\n\
mkdirat 34\n\
unlinkat 35\n\
symlinkat 36\n\
linkat 37\n\
umount2 39\n\
mount 40\n\
pivot_root 41\n\
nfsservctl 42\n\
statfs 43\n\
fstatfs 44\n\
truncate 45\n\
ftruncate 46\n\
fallocate 47\n\
faccessat 48\n\
chdir 49\n\
fchdir 50\n\
chroot 51\n\
fchmod 52\n\
fchmodat 53\n\
fchownat 54\n\
fchown 55\n\
openat 56\n\
close 57\n\
vhangup 58\n\
pipe2 59\n\
quotactl 60\n\
getdents64 61\n\
lseek 62\n\
read 63\n\
write 64\n\
readv 65\n\
writev 66\n\
pread64 67\n\
pwrite64 68\n\
preadv 69\n\
pwritev 70\n\
sendfile 71\n\
pselect6 72\n\
ppoll 73\n\
signalfd4 74\n\
vmsplice 75\n\
splice 76\n\
tee 77\n\
readlinkat 78\n\
newfstatat 79\n\
fstat 80\n\
sync 81\n\
fsync 82\n\
fdatasync 83\n\
sync_file_range 84\n\
timerfd_create 85\n\
timerfd_settime 86\n\
timerfd_gettime 87\n\
utimensat 88\n\
acct 89\n\
capget 90\n\
capset 91\n\
personality 92\n\
exit 93\n\
exit_group 94\n\
waitid 95\n\
set_tid_address 96\n\
unshare 97\n\
futex 98\n\
set_robust_list 99\n\
get_robust_list 100\n\
nanosleep 101\n\
getitimer 102\n\
setitimer 103\n\
kexec_load 104\n\
init_module 105\n\
delete_module 106\n\
timer_create 107\n\
timer_gettime 108\n\
timer_getoverrun 109\n\
timer_settime 110\n\
timer_delete 111\n\
clock_settime 112\n\
clock_gettime 113\n\
clock_getres 114\n\
clock_nanosleep 115\n\
syslog 116\n\
ptrace 117\n\
sched_setparam 118\n\
sched_setscheduler 119\n\
sched_getscheduler 120\n\
sched_getparam 121\n\
sched_setaffinity 122\n\
sched_getaffinity 123\n\
sched_yield 124\n\
sched_get_priority_max 125\n\
sched_get_priority_min 126\n\
sched_rr_get_interval 127\n\
restart_syscall 128\n\
kill 129\n\
tkill 130\n\
tgkill 131\n\
sigaltstack 132\n\
rt_sigsuspend 133\n\
rt_sigaction 134\n\
rt_sigprocmask 135\n\
rt_sigpending 136\n\
rt_sigtimedwait 137\n\
rt_sigqueueinfo 138\n\
rt_sigreturn 139\n\
setpriority 140\n\
getpriority 141\n\
reboot 142\n\
setregid 143\n\
setgid 144\n\
setreuid 145\n\
setuid 146\n\
setresuid 147\n\
getresuid 148\n\
setresgid 149\n\
getresgid 150\n\
setfsuid 151\n\
setfsgid 152\n\
times 153\n\
setpgid 154\n\
getpgid 155\n\
getsid 156\n\
setsid 157\n\
getgroups 158\n\
setgroups 159\n\
uname 160\n\
sethostname 161\n\
setdomainname 162\n\
getrlimit 163\n\
setrlimit 164\n\
getrusage 165\n\
umask 166\n\
prctl 167\n\
getcpu 168\n\
gettimeofday 169\n\
settimeofday 170\n\
adjtimex 171\n\
getpid 172\n\
getppid 173\n\
getuid 174\n\
geteuid 175\n\
getgid 176\n\
getegid 177\n\
gettid 178\n\
sysinfo 179\n\
mq_open 180\n\
mq_unlink 181\n\
mq_timedsend 182\n\
mq_timedreceive 183\n\
mq_notify 184\n\
mq_getsetattr 185\n\
msgget 186\n\
msgctl 187\n\
msgrcv 188\n\
msgsnd 189\n\
semget 190\n\
semctl 191\n\
semtimedop 192\n\
semop 193\n\
shmget 194\n\
shmctl 195\n\
shmat 196\n\
shmdt 197\n\
socket 198\n\
socketpair 199\n\
bind 200\n\
listen 201\n\
accept 202\n\
connect 203\n\
getsockname 204\n\
getpeername 205\n\
sendto 206\n\
recvfrom 207\n\
setsockopt 208\n\
getsockopt 209\n\
shutdown 210\n\
sendmsg 211\n\
recvmsg 212\n\
readahead 213\n\
brk 214\n\
munmap 215\n\
mremap 216\n\
add_key 217\n\
request_key 218\n\
keyctl 219\n\
clone 220\n\
execve 221\n\
mmap 222\n\
fadvise64 223\n\
swapon 224\n\
swapoff 225\n\
mprotect 226\n\
msync 227\n\
mlock 228\n\
munlock 229\n\
mlockall 230\n\
munlockall 231\n\
mincore 232\n\
madvise 233\n\
remap_file_pages 234\n\
mbind 235\n\
get_mempolicy 236\n\
set_mempolicy 237\n\
migrate_pages 238\n\
move_pages 239\n\
rt_tgsigqueueinfo 240\n\
perf_event_open 241\n\
accept4 242\n\
recvmmsg 243\n\
riscv_hwprobe 258\n\
riscv_flush_icache 259\n\
wait4 260\n\
prlimit64 261\n\
fanotify_init 262\n\
fanotify_mark 263\n\
name_to_handle_at 264\n\
open_by_handle_at 265\n\
clock_adjtime 266\n\
syncfs 267\n\
setns 268\n\
sendmmsg 269\n\
process_vm_readv 270\n\
process_vm_writev 271\n\
kcmp 272\n\
finit_module 273\n\
sched_setattr 274\n\
sched_getattr 275\n\
renameat2 276\n\
seccomp 277\n\
getrandom 278\n\
memfd_create 279\n\
bpf 280\n\
execveat 281\n\
userfaultfd 282\n\
membarrier 283\n\
mlock2 284\n\
copy_file_range 285\n\
preadv2 286\n\
pwritev2 287\n\
pkey_mprotect 288\n\
pkey_alloc 289\n\
pkey_free 290\n\
statx 291\n\
io_pgetevents 292\n\
rseq 293\n\
pidfd_send_signal 424\n\
io_uring_setup 425\n\
io_uring_enter 426\n\
io_uring_register 427\n\
open_tree 428\n\
move_mount 429\n\
fsopen 430\n\
fsconfig 431\n\
fsmount 432\n\
fspick 433\n\
pidfd_open 434\n\
clone3 435\n\
close_range 436\n\
openat2 437\n\
pidfd_getfd 438\n\
faccessat2 439\n\
process_madvise 440\n\
epoll_pwait2 441\n\
mount_setattr 442\n\
quotactl_fd 443\n\
landlock_create_ruleset 444\n\
landlock_add_rule 445\n\
landlock_restrict_self 446\n\
memfd_secret 447\n\
process_mrelease 448\n\
futex_waitv 449\n\
set_mempolicy_home_node 450\n\
cachestat 451\n\
fchmodat2 452\n\
futex_wake 454\n\
futex_wait 455\n\
futex_requeue 456\n\
statmount 457\n\
listmount 458\n\
lsm_get_self_attr 459\n\
lsm_set_self_attr 460\n\
lsm_list_modules 461\n\
mseal 462\n\
setxattrat 463\n\
getxattrat 464\n\
listxattrat 465\n\
removexattrat 466\n\
open_tree_attr 467\n\
";

/// The groups of Docker's default profile.
pub const DOCKER: &[Group] = &[
    Group { with: 0x0, without: 0x0, errno: 0, args: &[], calls: &[(0, 17), (19, 37), (43, 50), (52, 57), (59, 59), (61, 88), (90, 91), (93, 96), (98, 103), (107, 111), (113, 115), (118, 141), (143, 160), (163, 169), (171, 197), (199, 216), (221, 223), (226, 234), (240, 240), (242, 243), (258, 258), (260, 261), (263, 264), (266, 267), (269, 269), (274, 279), (281, 281), (283, 293), (424, 424), (434, 434), (436, 437), (439, 439), (441, 441), (444, 449), (451, 452), (454, 458), (462, 466)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[], calls: &[(117, 117), (270, 271)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_LT", 0x26, 0x0)], calls: &[(198, 198)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_EQ", 0x27, 0x0)], calls: &[(198, 198)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_GT", 0x28, 0x0)], calls: &[(198, 198)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_EQ", 0x0, 0x0)], calls: &[(92, 92)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_EQ", 0x8, 0x0)], calls: &[(92, 92)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_EQ", 0x20000, 0x0)], calls: &[(92, 92)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_EQ", 0x20008, 0x0)], calls: &[(92, 92)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[(0, "SCMP_CMP_EQ", 0xffffffff, 0x0)], calls: &[(92, 92)] },
    Group { with: 0x0, without: 0x0, errno: 0, args: &[], calls: &[(259, 259)] },
    Group { with: 0x4, without: 0x0, errno: 0, args: &[], calls: &[(265, 265)] },
    Group { with: 0x200000, without: 0x0, errno: 0, args: &[], calls: &[(18, 18), (39, 40), (60, 60), (97, 97), (116, 116), (161, 162), (220, 220), (241, 241), (262, 262), (268, 268), (280, 280), (428, 433), (435, 435), (442, 443), (459, 461)] },
    Group { with: 0x0, without: 0x200000, errno: 0, args: &[(0, "SCMP_CMP_MASKED_EQ", 0x7e020000, 0x0)], calls: &[(220, 220)] },
    Group { with: 0x0, without: 0x200000, errno: 38, args: &[], calls: &[(435, 435)] },
    Group { with: 0x400000, without: 0x0, errno: 0, args: &[], calls: &[(142, 142)] },
    Group { with: 0x40000, without: 0x0, errno: 0, args: &[], calls: &[(51, 51)] },
    Group { with: 0x10000, without: 0x0, errno: 0, args: &[], calls: &[(105, 106), (273, 273)] },
    Group { with: 0x100000, without: 0x0, errno: 0, args: &[], calls: &[(89, 89)] },
    Group { with: 0x80000, without: 0x0, errno: 0, args: &[], calls: &[(117, 117), (270, 272), (438, 438), (440, 440)] },
    Group { with: 0x2000000, without: 0x0, errno: 0, args: &[], calls: &[(112, 112), (170, 170)] },
    Group { with: 0x4000000, without: 0x0, errno: 0, args: &[], calls: &[(58, 58)] },
    Group { with: 0x800000, without: 0x0, errno: 0, args: &[], calls: &[(235, 237), (450, 450)] },
    Group { with: 0x400000000, without: 0x0, errno: 0, args: &[], calls: &[(116, 116)] },
    Group { with: 0x8000000000, without: 0x0, errno: 0, args: &[], calls: &[(280, 280)] },
    Group { with: 0x4000000000, without: 0x0, errno: 0, args: &[], calls: &[(241, 241)] },
];
