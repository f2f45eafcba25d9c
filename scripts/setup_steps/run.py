"""The six steps in their order, one before them on a Jetson, one more for each simulator; a failure ends with one line."""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from setup_steps.environment import MakeEnvironment
from setup_steps.exports import RepairExports
from setup_steps.jetson import CheckJetson, as_jetson
from setup_steps.layout import Layout, child_environment, read_layout
from setup_steps.lock import exclusive
from setup_steps.machine import CheckMachine
from setup_steps.packages import InstallPackages
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.simulators import SIMULATORS, InstallSimulator
from setup_steps.smoke import SmokeTest
from setup_steps.step import Step, settle
from setup_steps.workspace import BuildWorkspace

ROOT = Path(__file__).resolve().parents[2]


def set_up(layout: Layout, simulators: Sequence[str] = (), sourcing: str = "") -> None:
    """All steps. sourcing: what the user must do before scripts/activate, as it was done here."""
    environ = child_environment(layout, os.environ)
    started = time.monotonic()
    with exclusive(layout.root, on_wait=_say_that_we_wait) as lock:
        steps = steps_of(layout, environ, lock, simulators)
        progress = Progress(total=len(steps))
        for number, make_step in enumerate(steps, start=1):
            step = make_step()
            progress.begin(number, step.name)
            settle(step, progress)
    print(f"set up in {time.monotonic() - started:.1f} s; enter with: {sourcing}. scripts/activate", flush=True)


def steps_of(layout: Layout, environ: Mapping[str, str], lock: int, simulators: Sequence[str]) -> list[Callable[[], Step]]:
    """What makes each step, in their order; a step looks at the machine when it is made."""
    return [
        # First, for it refuses what the others would spoil: a package index's torch on top of JetPack's.
        *([lambda: CheckJetson(layout)] if layout.jetson else []),
        lambda: CheckMachine(layout, environ),
        lambda: MakeEnvironment(layout, environ),
        lambda: InstallPackages(layout, environ),
        lambda: RepairExports(layout, environ),
        lambda: BuildWorkspace(layout, environ, keep=[lock]),
        lambda: SmokeTest(layout, environ),
        *(lambda name=name: InstallSimulator(layout, environ, SIMULATORS[name]) for name in simulators),
    ]


def wanted_simulators(arguments: Sequence[str]) -> list[str]:
    """["--with", "libero"] -> ["libero"], each once; --jetson aside. Raises Problem for whatever else was given."""
    names, rest = [], [argument for argument in arguments if argument != "--jetson"]
    while rest:
        option = rest.pop(0)
        name = rest.pop(0) if rest else ""
        if option != "--with" or name not in SIMULATORS:
            choices = " and ".join(f"--with {name}" for name in SIMULATORS)
            raise Problem(f"the arguments it takes are --jetson, {choices}, but it was given {' '.join(arguments)}")
        names.append(name)
    return list(dict.fromkeys(names))


def main(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    layout = read_layout(ROOT, os.environ)
    try:
        simulators = wanted_simulators(arguments)
        layout, humble = as_jetson(layout, "--jetson" in arguments, os.environ)
        os.environ.update(humble)
        set_up(layout, simulators, f". /opt/ros/{layout.distribution}/setup.bash; " if humble else "")
    except Problem as problem:
        return _fail(str(problem))
    except KeyboardInterrupt:
        _fail("interrupted; run it again to go on from here")
        return 130
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"the disk is full at {error.filename or layout.venv}; make room and run scripts/setup again")
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return _fail(f"{error.filename} may not be written; run as its owner, or name another folder in WORLDAGEN_VENV")
        raise
    return 0


def _say_that_we_wait() -> None:
    print("another set-up is at work here; waiting for it to end", flush=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _fail(line: str) -> int:
    print(f"scripts/setup: {line}", file=sys.stderr)
    return 1
