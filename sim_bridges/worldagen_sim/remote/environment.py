"""An Environment whose simulator runs in another process. It dies, hangs and prints without harm to ours.

After a crash or a hang the call raises SimulatorError with what the process printed last; the next reset starts it anew.
"""

import atexit
import contextlib
import os
import weakref
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from worldagen.errors import SimulatorError
from worldagen_sim.environment import VIEWS, SimState
from worldagen_sim.remote import wire
from worldagen_sim.remote.picture_pool import PicturePool, make_memory
from worldagen_sim.remote.process import Launch, SimulatorProcess

START_PATIENCE_S = 300.0  # imports, and whatever a simulator compiles at its first start
CALL_PATIENCE_S = 120.0  # a reset of LIBERO takes seconds


class RemoteEnvironment:
    """See Environment for the protocol. Raises SimulatorError when the simulator does not start."""

    def __init__(self, launch: Launch, patience_s: float = CALL_PATIENCE_S, start_patience_s: float = START_PATIENCE_S) -> None:
        self._launch, self._patience_s, self._start_patience_s = launch, patience_s, start_patience_s
        self._process: SimulatorProcess | None = None
        self._pool: PicturePool | None = None
        self.conditions: Mapping[str, str] = {}
        # One that nobody closed ends before the interpreter does: later its listening thread holds a lock for ever.
        this = weakref.ref(self)
        atexit.register(lambda: environment.close() if (environment := this()) else None)
        told = self._start()
        self.name, self.version, self.tasks, self.scenes = told.name, told.version, told.tasks, told.scenes
        self.cameras, self.convention, self.caveat = told.cameras, told.convention, told.caveat

    @property
    def pid(self) -> int | None:
        """Of the simulator's process; None while there is none."""
        return self._process.pid if self._process else None

    def reset(self, task: str, scene: str, seed: int, conditions: Mapping[str, str] | None = None) -> SimState:
        """See Environment. Starts the simulator again if it has died."""
        asked = None if conditions is None else dict(conditions)
        return self._begin("reset", task=task, scene=scene, seed=int(seed), conditions=asked)

    def restore(self, task: str, scene: str, state: np.ndarray) -> SimState:
        """See Environment. Starts the simulator again if it has died."""
        return self._begin("restore", task=task, scene=scene, state=np.asarray(state, np.float64).tolist())

    def take_up(self, task: str) -> SimState:
        """See Environment."""
        return self._state("take_up", task=task)

    def step(self, action: np.ndarray) -> SimState:
        """See Environment."""
        return self._state("step", action=np.asarray(action, np.float64).tolist())

    def render(self, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """See Environment. The pictures are read-only views of memory that nobody writes while they are held."""
        self._require_process()
        assert self._pool is not None
        slot = self._pool.free_slot()
        self._call("render", slot=slot, views=list(views))
        return self._pool.read(slot, views)

    def close(self) -> None:
        """End the simulator's process; harmless to call twice."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(wire.ChannelClosed):
                process.channel.send({"call": "close"})
            process.end()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def _begin(self, name: str, **arguments: Any) -> SimState:
        if self._process is None:
            self._start()
        return self._state(name, **arguments)

    def _state(self, name: str, **arguments: Any) -> SimState:
        state, self.conditions = wire.decode_state(self._call(name, **arguments))
        return state

    def _start(self) -> wire.Description:
        memory = make_memory()
        try:
            self._process = SimulatorProcess(self._launch, memory)
            told = wire.decode_description(self._receive("its start", self._start_patience_s))
            self._pool = PicturePool(memory, told.cameras, writable=False)
            return told
        except SimulatorError:
            self.close()
            raise
        finally:
            os.close(memory)

    def _call(self, name: str, **arguments: Any) -> Any:
        process = self._require_process()
        try:
            process.channel.send({"call": name, **arguments})
        except wire.ChannelClosed:
            raise self._died(name) from None
        return self._receive(name, self._patience_s)["result"]

    def _receive(self, name: str, patience_s: float) -> dict[str, Any]:
        """The reply to a call. Raises what the simulator raised, or SimulatorError with its last output if it is gone."""
        process = self._require_process()
        try:
            reply = process.channel.receive(patience_s)
        except wire.ChannelClosed:
            raise self._died(name) from None
        except wire.ChannelSilent:
            process.end(patience_s=0.0)
            self._process = None
            raise SimulatorError(
                f"{process.name} has not answered ({name}) within {patience_s:g} s and was ended. It printed last:\n  "
                f"{process.last_output}\nA reset starts it again"
            ) from None
        if "error" in reply:
            raise wire.decode_error(reply)
        return reply

    def _died(self, name: str) -> SimulatorError:
        process = self._require_process()
        status = process.end()
        self._process = None
        return SimulatorError(
            f"{process.name} ended with status {status} during {name}. It printed last:\n  {process.last_output}\n"
            "A reset starts it again"
        )

    def _require_process(self) -> SimulatorProcess:
        if self._process is None:
            raise SimulatorError(f"{self._launch.name} is not running; reset starts it again")
        return self._process
