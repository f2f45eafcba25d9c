"""An adaptation's worker to which something happens: `python -m dying_worker REQUEST`, told by the environment's HAPPENS.

killed:STAGE    it is killed as it tells of that stage; "writing": between the adapter's last byte and its name
memory:STAGE    from that stage on the system gives it no more memory
"""

import os
import resource
import signal
import sys
from pathlib import Path

import torch

from worldagen.adaptation import run, worker

WHAT, STAGE = os.environ["HAPPENS"].split(":")
RENAME, ADAPT = Path.rename, run.adapt
held: list[torch.Tensor] = []


def happen() -> None:
    """What the environment says."""
    if WHAT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    used = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
    held.append(torch.ones(1 << 24))  # as the next batch would, whose size in a test is nothing


def adapt(request, tell, command):
    """As ever, until then."""

    def telling(progress) -> None:
        tell(progress)
        if progress.stage == STAGE:
            happen()

    return ADAPT(request, telling, command)


def rename(self: Path, target: Path) -> Path:
    """As ever, but for the adapter's folder."""
    if STAGE == "writing" and self.name.startswith(".") and (self / "manifest.json").is_file():
        happen()
    return RENAME(self, target)


if __name__ == "__main__":
    run.adapt, Path.rename = adapt, rename  # type: ignore[method-assign]
    sys.exit(worker.main(sys.argv[1:]))
