"""A 32-bit x86 program as on an old kernel: system calls that came later get
ENOSYS, by a seccomp filter whose listener counts them, and the vDSO is hidden,
whose clocks would go round the filter. Only calls of 32-bit programs are
looked at, so the filter can be set before exec."""

import collections
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading

# The highest number of a system call on i386 in these kernels
# (arch/x86/entry/syscalls/syscall_32.tbl of each). From 403 on, since Linux
# 5.1, are the calls with a 64-bit time.
LAST_CALL = {"3.10": 350, "4.4": 376, "5.0": 386}
# What the summary calls the numbers that a program is likely to try.
NAMES = {
    353: "renameat2", 355: "getrandom", 356: "memfd_create", 359: "socket", 361: "bind", 362: "connect",
    363: "listen", 364: "accept4", 365: "getsockopt", 366: "setsockopt", 367: "getsockname", 368: "getpeername",
    369: "sendto", 370: "sendmsg", 371: "recvfrom", 372: "recvmsg", 373: "shutdown", 360: "socketpair",
    377: "copy_file_range", 383: "statx", 403: "clock_gettime64", 406: "clock_getres_time64",
    407: "clock_nanosleep_time64", 410: "timerfd_gettime64", 411: "timerfd_settime64", 412: "utimensat_time64",
    413: "pselect6_time64", 414: "ppoll_time64", 417: "recvmmsg_time64", 421: "rt_sigtimedwait_time64",
    422: "futex_time64", 434: "pidfd_open", 435: "clone3", 436: "close_range", 437: "openat2", 439: "faccessat2",
    441: "epoll_pwait2",
}

# linux/audit.h, seccomp.h, prctl.h, ptrace.h, elf.h; seccomp(2) on x86_64.
AUDIT_ARCH_I386 = 0x4000_0003
SYS_SECCOMP, SET_MODE_FILTER, NEW_LISTENER = 317, 1, 1 << 3
RET_ALLOW, RET_USER_NOTIF = 0x7FFF_0000, 0x7FC0_0000
NOTIF_RECV, NOTIF_SEND = 0xC050_2100, 0xC018_2101
NOTIF_BYTES = 80
PR_SET_NO_NEW_PRIVS = 38
PTRACE_TRACEME, PTRACE_DETACH = 0, 17
AT_NULL, AT_IGNORE, AT_SYSINFO_EHDR = 0, 1, 33
# Which field of /proc/PID/stat, from 1, is where the stack begins.
STAT_STARTSTACK = 28

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = _libc.ptrace.restype = ctypes.c_long


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _filter(last_call):
    """BPF: 32-bit calls above `last_call` go to the listener."""
    load, equal, greater, answer = 0x20, 0x15, 0x25, 0x06
    lines = [
        (load, 0, 0, 4),
        (equal, 0, 3, AUDIT_ARCH_I386),
        (load, 0, 0, 0),
        (greater, 0, 1, last_call),
        (answer, 0, 0, RET_USER_NOTIF),
        (answer, 0, 0, RET_ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *line) for line in lines), len(lines)


def _checked(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


class OldKernel:
    """Starts programs; `refused` counts the calls that they were refused, by
    number."""

    def __init__(self, release):
        self.release = release
        self.refused = collections.Counter()

    def popen(self, command, **options):
        """`subprocess.Popen`, on this kernel."""
        ours, theirs = socket.socketpair()

        def prepare():
            _checked(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
            code, length = _filter(LAST_CALL[self.release])
            program = _Program(length, code)
            listener = _checked(
                _libc.syscall(SYS_SECCOMP, SET_MODE_FILTER, NEW_LISTENER, ctypes.byref(program)), "seccomp"
            )
            socket.send_fds(theirs, [b"x"], [listener])
            _checked(_libc.ptrace(PTRACE_TRACEME, 0, None, None), "ptrace")

        with ours, theirs:
            child = subprocess.Popen(command, preexec_fn=prepare, **options)
            _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
        threading.Thread(target=self._refuse, args=(listener,), daemon=True).start()
        # It waits behind its exec to be looked at.
        os.waitpid(child.pid, 0)
        try:
            _hide_vdso(child.pid)
        except BaseException:
            child.kill()
            raise
        finally:
            _checked(_libc.ptrace(PTRACE_DETACH, child.pid, None, None), "detach")
        return child

    def _refuse(self, listener):
        poll = select.poll()
        poll.register(listener, select.POLLIN)
        while True:
            if not poll.poll()[0][1] & select.POLLIN:
                # The program has ended.
                os.close(listener)
                return
            notification = bytearray(NOTIF_BYTES)
            try:
                fcntl.ioctl(listener, NOTIF_RECV, notification)
                identity, _, _, number = struct.unpack_from("QIIi", notification)
                self.refused[number] += 1
                answer = struct.pack("QqiI", identity, 0, -errno.ENOSYS, 0)
                fcntl.ioctl(listener, NOTIF_SEND, answer)
            except FileNotFoundError:
                # A signal took the caller out of the call.
                continue

    def names_refused(self):
        """What was refused and how often, the most frequent first."""
        return ", ".join(f"{NAMES.get(number, number)} {times}" for number, times in self.refused.most_common())


def _hide_vdso(pid):
    """Takes the vDSO out of the words that the kernel left on the stack of a
    32-bit program (ld.so(8), getauxval(3))."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        place = int(file.read().rpartition(")")[2].split()[STAT_STARTSTACK - 3])
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        def word(at):
            memory.seek(at)
            return struct.unpack("I", memory.read(4))[0]

        # argc, the arguments, a zero, the environment, a zero, then pairs.
        at = place + 4 * (1 + word(place) + 1)
        while word(at):
            at += 4
        at += 4
        while (kind := word(at)) != AT_NULL:
            if kind == AT_SYSINFO_EHDR:
                memory.seek(at)
                memory.write(struct.pack("I", AT_IGNORE))
                return
            at += 8
    raise AssertionError("the program was given no vDSO: is it a 32-bit one?")
