"""What processes that we start are told: to end with us, and those that have time, to give way."""

import contextlib
import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1
NICENESS = 19
SESSION_NICENESS = 5  # a quarter of a busy core: at 19 it would be a seventieth, and an adaptation would never end


def end_with_parent() -> None:
    """In a child, as soon as it is one: the kernel sends it SIGTERM when the parent dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def give_way() -> None:
    """Of the calling process, which needs a session of its own: to everything else on the machine, as far as the system lets.

    Linux shares the processor between sessions first (autogroups, on in most distributions) and by niceness only within one.
    """
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):  # not there where sessions do not count
        Path("/proc/self/autogroup").write_text(str(SESSION_NICENESS), encoding="ascii")
