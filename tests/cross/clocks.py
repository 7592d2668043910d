#!/usr/bin/env python3
"""clocks.py PROGRAM: fails if a 32-bit program takes a date by 32 bits. musl has two of each function that deals with time; by its plain name std
finds the one for old programs. Allowed are those whose dates nobody reads (tests/arch.rs sees to it): PROGRAM has its symbols."""
import re, subprocess, sys

ALLOWED = {"clock_gettime": "Instant, which counts from the start of the machine", "clock_nanosleep": "sleeps", "stat": "sizes and kinds of files",
           "lstat": "the same", "fstat": "the same"}
OLD = ("adjtime adjtimex aio_suspend clock_adjtime clock_getres clock_gettime clock_nanosleep clock_settime cnd_timedwait ctime ctime_r difftime fstat "
       "fstatat ftime futimens futimes futimesat getitimer getrusage gettimeofday gmtime gmtime_r localtime localtime_r lstat lutimes mktime "
       "mq_timedreceive mq_timedsend mtx_timedlock nanosleep ppoll pselect pthread_cond_timedwait pthread_mutex_timedlock pthread_rwlock_timedrdlock "
       "pthread_rwlock_timedwrlock pthread_timedjoin_np recvmmsg sched_rr_get_interval select sem_timedwait semtimedop setitimer settimeofday "
       "sigtimedwait stat stime thrd_sleep time timegm timer_gettime timer_settime timerfd_gettime timerfd_settime timespec_get utime utimensat utimes "
       "wait3 wait4").split()

symbols = subprocess.run(["nm", sys.argv[1]], capture_output=True, text=True, check=True).stdout.split("\n")
names = {line.split(" ", 2)[2] for line in symbols if line.count(" ") >= 2}
if "__clock_gettime" not in names:
    sys.exit("no symbols, or no clock of 64 bits")
bad = (names & set(OLD)) - set(ALLOWED) | {name for name in names if re.search("SystemTime.*3now", name)}
sys.exit("; ".join(sorted(bad)) or None)
