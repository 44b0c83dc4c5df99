"""Cuts the power of one mounted ext4 or XFS filesystem: cut-power.py MOUNTPOINT [PID] (root only).

From this moment nothing more reaches its disk, and the journal in memory is dropped, as if the
machine had lost power. Unmount and mount it again to see what survived.

A process that writes there must be named: it is stopped just before, as a real power cut would stop
it. A sync under way at that moment may report success although its bytes are lost, and nobody may
live to believe it.
"""

import fcntl
import os
import signal
import struct
import sys

# The kernel's "shut this filesystem down" request, _IOR('X', 125, u32).
IOC_SHUTDOWN = 0x8004587D
# Its flavour that does not write the journal out first.
WITHOUT_FLUSHING_LOG = 2


def stop(pid):
    """Returns once the main thread runs no more; its system calls in other threads go on."""
    os.kill(pid, signal.SIGSTOP)
    while True:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            if stat.read().rpartition(") ")[2][0] in "TtZX":
                return


def main():
    if len(sys.argv) not in (2, 3) or not os.path.ismount(sys.argv[1]):
        sys.exit("usage: cut-power.py MOUNTPOINT [PID] (a mounted ext4 or XFS filesystem)")
    directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
    try:
        if len(sys.argv) == 3:
            stop(int(sys.argv[2]))
        fcntl.ioctl(directory, IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_LOG))
    finally:
        os.close(directory)


main()
