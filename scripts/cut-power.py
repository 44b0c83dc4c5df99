"""Cuts the power of one mounted ext4 or XFS filesystem: cut-power.py MOUNTPOINT (root only).

From this moment nothing more reaches its disk, and the journal in memory is dropped, as if the
machine had lost power. Unmount and mount it again to see what survived.
"""

import fcntl
import os
import struct
import sys

# The kernel's "shut this filesystem down" request, _IOR('X', 125, u32).
IOC_SHUTDOWN = 0x8004587D
# Its flavour that does not write the journal out first.
WITHOUT_FLUSHING_LOG = 2


def main():
    if len(sys.argv) != 2 or not os.path.ismount(sys.argv[1]):
        sys.exit("usage: cut-power.py MOUNTPOINT (a mounted ext4 or XFS filesystem)")
    directory = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(directory, IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING_LOG))
    finally:
        os.close(directory)


main()
