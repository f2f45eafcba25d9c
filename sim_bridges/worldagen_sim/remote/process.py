"""How a simulator's process is started, listened to and ended."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import worldagen
import worldagen_sim
from worldagen.child_processes import end_with_parent
from worldagen.errors import SimulatorError
from worldagen_sim.remote import wire

KEPT_LINES = 30  # of what the process printed last
ENDING_S = 5.0  # for a process that was asked to end


@dataclass(frozen=True)
class Launch:
    """What to start.

    name: of the simulator, for messages. factory: "module:function" in the worker that makes the Environment, with `options`
    as keyword arguments. python: interpreter, ours by default. environment: variables on top of ours. paths: further folders
    that the worker imports from.
    """

    name: str
    factory: str
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ()


class SimulatorProcess:
    """One worker, from its start to its end. Raises SimulatorError when its interpreter cannot be started."""

    def __init__(self, launch: Launch, memory: int) -> None:
        ours, theirs = socket.socketpair()
        self.name = launch.name
        self._packages = our_packages()
        paths = os.pathsep.join((self._packages, *launch.paths))
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": paths, **launch.environment}
        command = [launch.python, "-m", "worldagen_sim.remote.worker", str(theirs.fileno()), str(memory), launch.factory]
        try:
            self._process = subprocess.Popen(
                [*command, json.dumps(dict(launch.options))],
                pass_fds=(theirs.fileno(), memory),
                stdin=subprocess.DEVNULL,  # who waits for an answer of a user gets the end of the file
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=variables,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            ours.close()
            shutil.rmtree(self._packages, ignore_errors=True)
            raise SimulatorError(f"{launch.name}: {launch.python} cannot be started: {error}") from None
        finally:
            theirs.close()
        self.channel = wire.Channel(ours)
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._listener = threading.Thread(target=self._listen, name=f"{launch.name} output", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    @property
    def last_output(self) -> str:
        """What it printed last, for an error's message."""
        return "\n  ".join(self._lines) or "(it printed nothing)"

    def end(self, patience_s: float = ENDING_S) -> int | None:
        """Close the channel, wait, and kill who does not go. Returns the exit status."""
        self.channel.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(1.0)
        shutil.rmtree(self._packages, ignore_errors=True)
        return self._process.returncode

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.append(line.decode(errors="replace").rstrip()[:400])


def our_packages() -> str:
    """A folder with nothing but our two packages: a foreign environment must not see what else stands beside them."""
    folder = tempfile.mkdtemp(prefix="worldagen_packages_")
    for package in (worldagen, worldagen_sim):
        place = Path(str(package.__file__)).parent
        os.symlink(place, os.path.join(folder, place.name))
    return folder
