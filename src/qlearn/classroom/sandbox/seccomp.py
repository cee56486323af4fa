"""A filter of system calls for a student's process: no new processes, no memory out of count.

Threads stay allowed. What is refused fails with EPERM, so that Python raises an OSError and goes
on; ``clone3`` is reported as absent, since its flags can't be read by a filter: the C library then
takes ``clone``. The program is in the format of seccomp(2), for bubblewrap's ``--seccomp``.
"""

from __future__ import annotations

import errno
import platform
import struct

__all__ = ["program"]

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Refused: ways to start a process, to hold memory that RLIMIT_AS does not count (files and
# segments in memory), and interfaces of the kernel that no notebook needs.
REFUSED = {
    "x86_64": {
        "fork": 57,
        "vfork": 58,
        "shmget": 29,
        "memfd_create": 319,
        "memfd_secret": 447,
        "ptrace": 101,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "bpf": 321,
        "userfaultfd": 323,
        "io_uring": 425,
        "perf_event_open": 298,
        "mount": 165,
        "unshare": 272,
        "setns": 308,
        "msgget": 68,
    },
    "aarch64": {
        "shmget": 194,
        "memfd_create": 279,
        "memfd_secret": 447,
        "ptrace": 117,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "keyctl": 219,
        "add_key": 217,
        "request_key": 218,
        "bpf": 280,
        "userfaultfd": 282,
        "io_uring": 425,
        "perf_event_open": 241,
        "mount": 40,
        "unshare": 97,
        "setns": 268,
        "msgget": 186,
    },
}
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
CLONE_THREAD = 0x00010000
X32 = 0x40000000  # the bit of x86_64's other table of calls

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF operations
ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCH, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data (little-endian)


def program(machine: str = platform.machine()) -> bytes | None:
    """The filter, or None on a processor whose table of calls is not written here."""
    if machine not in AUDIT_ARCH:
        return None
    refuse = _step(RETURN, ERROR | errno.EPERM)
    steps = [
        _step(LOAD, ARCH),
        _step(EQUAL, AUDIT_ARCH[machine], 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(AT_LEAST, X32, 0, 1), refuse]
    steps += [_step(EQUAL, CLONE3, 0, 1), _step(RETURN, ERROR | errno.ENOSYS)]
    for number in REFUSED[machine].values():
        steps += [_step(EQUAL, number, 0, 1), refuse]
    steps += [
        _step(EQUAL, CLONE[machine], 0, 3),
        _step(LOAD, FIRST_ARGUMENT),
        _step(ANY_BIT, CLONE_THREAD, 1, 0),
        refuse,
        _step(RETURN, ALLOW),
    ]
    return b"".join(steps)


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", operation, if_true, if_false, value)
