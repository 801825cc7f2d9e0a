"""Runs the command with a wrong wall clock: ``skewed.py FILE [WORD …]``; FILE holds the seconds it is off, as a double.

The file may be written while the command runs: that is somebody who sets the machine's clock.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time


def main() -> None:
    """Bend the clock before anything else is imported, then run the command."""
    with open(sys.argv[1], "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    real = time.time
    time.time = lambda: real() + struct.unpack("d", offset[:8])[0]
    from windlass_cli.main import main as command

    command(sys.argv[2:])


if __name__ == "__main__":
    main()
