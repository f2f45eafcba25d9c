"""A step, and the rule that every step follows: trust nothing, do only what is needed, prove it, then write it down."""

import time
from pathlib import Path
from typing import Any, Protocol

from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.stamps import read_stamp, write_stamp

SHOWN_FAULTS = 5


class Step(Protocol):
    name: str

    @property
    def stamp(self) -> Path | None:
        """Where to remember that it was done; None when it is so cheap to judge that nothing needs remembering."""
        ...

    def fingerprint(self) -> str:
        """What the result depends on; another fingerprint means that the work must be done again."""
        ...

    def faults(self, record: dict[str, Any]) -> list[str]:
        """What is wrong with the result as it lies there, judged with what an earlier run recorded about it."""
        ...

    def work(self, progress: Progress) -> None:
        """Do it, or repair it; raise Problem when that is impossible."""
        ...

    def record(self) -> dict[str, Any]:
        """What to remember of the result that now lies there."""
        ...

    def summary(self) -> str:
        """The result in a few words."""
        ...


def settle(step: Step, progress: Progress) -> bool:
    """Bring one step to its end; return whether there was anything to do."""
    known = read_stamp(step.stamp) if step.stamp else {}
    current = step.stamp is None or known.get("fingerprint") == step.fingerprint()
    faults = step.faults(known.get("record", {}))
    if current and not faults:
        progress.finish(f"{step.summary()}, nothing to do")
        return False
    for fault in faults[:SHOWN_FAULTS]:
        progress.say(fault)
    if len(faults) > SHOWN_FAULTS:
        progress.say(f"and {len(faults) - SHOWN_FAULTS} more")
    if step.stamp:
        step.stamp.unlink(missing_ok=True)  # from here on the result is not to be trusted
    step.work(progress)
    record = step.record()
    faults = step.faults(record)
    if faults:
        raise Problem(f"{step.name} is still not right: {faults[0]}")
    if step.stamp:
        write_stamp(step.stamp, {"fingerprint": step.fingerprint(), "finished": time.time(), "record": record})
    progress.finish(step.summary())
    return True
