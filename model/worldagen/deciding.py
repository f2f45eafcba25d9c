"""The decision loop without ROS: sets of samples in, at most one decision at a time in a worker thread, chunks out.

A decision made for an instruction that is over meanwhile is thrown away.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np

from worldagen.assembly import SampleSet
from worldagen.disturbance import Disturbance
from worldagen.schedule import Due, Schedule
from worldagen.types import ActionChunk

if TYPE_CHECKING:
    from worldagen.mixture.router import Routed

Made = TypeVar("Made")


class Decider(Protocol):
    """What decides: the network, a scripted expert. Called from one worker thread only."""

    name: str
    source: str  # where its weights come from, "" for none
    streams: tuple[str, ...]  # what it needs of a robot

    def reset(self, instruction: str, disturbance: Disturbance | None = None) -> None:
        """Forget everything and take up an instruction. Raises WorldAgenError when it cannot disturb its actions so."""
        ...

    def decide(self, samples: SampleSet) -> ActionChunk:
        """Answer one set of samples; raises WorldAgenError and stays usable."""
        ...

    def prepare(self) -> None:
        """Do now what the next decision needs of the past; called after every decision, while its chunk plays."""
        ...

    def predict(self) -> Mapping[str, np.ndarray] | None:
        """The pictures expected once the last chunk has been played, by view; None for a decider without a world model."""
        ...


@dataclass(frozen=True)
class Shadowed:
    """How far an adapter's answers have been from those that were given, so far. See worldagen/adaptation/gate.py, Drift."""

    adapter: str
    stamp_ns: int
    decisions: int
    wanted: int
    translation_p99_m: float
    rotation_p99_rad: float
    gripper_flips: float


@runtime_checkable
class Adaptable(Protocol):
    """A decider whose network takes adapters. Called from the worker thread only, between two decisions.

    shadowing: whether an adapter is being compared; may be read from any thread.
    """

    @property
    def shadowing(self) -> bool: ...

    def load_adapter(self, path: str, override: str) -> str:
        """Load a folder and make it active, "" for the base; returns the active id. Raises AdaptationError."""
        ...

    def list_adapters(self) -> tuple[tuple[str, ...], str]:
        """Loaded ids, oldest first, and the active one."""
        ...

    def begin_shadow(self, path: str, decisions: int) -> str:
        """Compare an adapter with what is given in the next decisions, "" for none; returns its id. Raises AdaptationError."""
        ...

    def shadow(self) -> Shadowed | None:
        """Compare the last decision; None where nothing is to be compared."""
        ...


@dataclass(frozen=True, eq=False)
class RoutedAt:
    """How a decision was mixed. stamp_ns: of the observation it answered; mode: off, nearest, mixture or uniform."""

    stamp_ns: int
    mode: str
    routed: "Routed"


@runtime_checkable
class Routable(Protocol):
    """A decider that can mix the adapters of a bank of places. Called from the worker thread only, between two decisions.

    routed: of the newest decision, None before the first and without a bank; may be read from any thread.
    """

    @property
    def routed(self) -> RoutedAt | None: ...

    def route(self, mode: str) -> str:
        """Read the bank again, begin anew in a mode, "" for the one it has; returns what is routed by, in words.

        Raises BankError or AdaptationError, changing nothing.
        """
        ...

    def look_again(self, why: str) -> None:
        """Take in frames again; without a bank nothing happens."""
        ...


@dataclass(frozen=True, eq=False)
class Foreseen:
    """What a world model expects to see at an instant: the one at which its last chunk has been played.

    pictures: "static" and "wrist", (S, S, 3) uint8 RGB.
    """

    stamp_ns: int
    pictures: Mapping[str, np.ndarray]


class _Done(NamedTuple):
    """A decision, the run it belongs to, and the system time at which the worker began and ended it, ns."""

    run: int
    chunk: ActionChunk
    begun_ns: int
    decided_ns: int


class DecisionLoop:
    """All methods belong to one thread but `on_done`, which the worker calls when `collect` has something to fetch."""

    def __init__(
        self,
        decider: Decider,
        schedule: Schedule,
        on_done: Callable[[], None],
        foresees: Callable[[], bool] = lambda: False,
    ) -> None:
        """foresees: whether somebody wants to see what is expected; asked after every decision."""
        self.decider = decider
        self._foresees = foresees
        self._foreseeing: Future[Foreseen | None] | None = None
        self._shadowing: Future[Shadowed | None] | None = None
        self.instruction = ""
        self.decisions = 0  # since the last start
        self._schedule = schedule
        self._on_done = on_done
        self._not_before_ns = 0
        self._disturbance: Disturbance | None = None
        self._run = 0  # counts starts and stops
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decide")
        self._job: Future[_Done] | None = None
        self._asked_s = 0.0  # monotonic; when it was begun
        self.begun_ns = self.decided_ns = 0  # system time: of the chunk collected last

    @property
    def deciding_s(self) -> float:
        """How long the decision under way has been taking, 0.0 when there is none."""
        return time.monotonic() - self._asked_s if self._job is not None else 0.0

    @property
    def last(self) -> ActionChunk | None:
        """The newest chunk of this run."""
        return self._schedule.last

    def start(self, instruction: str, not_before_ns: int = 0, disturbance: Disturbance | None = None) -> None:
        """Follow an instruction from now on, with an empty history; observations captured before are not answered.

        disturbance: noise on its actions; after a break in the history it begins again, too.
        """
        self._run += 1
        self._not_before_ns, self._disturbance = not_before_ns, disturbance
        self.instruction, self.decisions = instruction, 0
        self._schedule.start()

    def stop(self) -> None:
        """Decide nothing until the next start."""
        self._run += 1
        self.instruction = ""

    def offer(self, samples: SampleSet) -> Due:
        """Begin a decision when one is due and none is under way; says what these samples call for."""
        if not self.instruction or self._job is not None or samples.stamp_ns < self._not_before_ns:
            return Due.WAIT
        due = self._schedule.due(samples.stamp_ns)
        if due in (Due.ACT, Due.AFRESH):
            afresh = due is Due.AFRESH or self._schedule.last is None
            fresh = (self.instruction, self._disturbance) if afresh else None
            self._asked_s = time.monotonic()
            self._job = self._worker.submit(self._decide, samples, self._run, fresh)
            self._job.add_done_callback(lambda _: self._on_done())
        return due

    def collect(self) -> ActionChunk | None:
        """The chunk of a finished decision, or None. Raises the WorldAgenError it ended with; the next one can be good."""
        if self._job is None or not self._job.done():
            return None
        job, self._job = self._job, None
        run, chunk, begun_ns, decided_ns = job.result()
        if run != self._run:
            return None
        self.begun_ns, self.decided_ns = begun_ns, decided_ns
        self._worker.submit(self.decider.prepare)
        if self._foresees():
            self._foreseeing = self._worker.submit(self._foresee, chunk)
            self._foreseeing.add_done_callback(lambda _: self._on_done())
        if isinstance(self.decider, Adaptable) and self.decider.shadowing:
            self._shadowing = self._worker.submit(self.decider.shadow)
            self._shadowing.add_done_callback(lambda _: self._on_done())
        self._schedule.answered(chunk)
        self.decisions += 1
        return chunk

    def collect_foreseen(self) -> Foreseen | None:
        """What the last chunk is expected to lead to, once, when it is there. Raises the WorldAgenError it ended with."""
        if self._foreseeing is None or not self._foreseeing.done():
            return None
        job, self._foreseeing = self._foreseeing, None
        return job.result()

    def between(self, work: "Callable[[], Made]") -> "Future[Made]":
        """Do something with the decider between two decisions, in the worker; the decision under way is finished first."""
        return self._worker.submit(work)

    def collect_shadow(self) -> Shadowed | None:
        """The newest comparison of an adapter, once. Raises the WorldAgenError it ended with."""
        if self._shadowing is None or not self._shadowing.done():
            return None
        job, self._shadowing = self._shadowing, None
        return job.result()

    def close(self) -> None:
        """Wait for the decision under way and end the worker."""
        self._worker.shutdown()

    def _decide(self, samples: SampleSet, run: int, fresh: tuple[str, Disturbance | None] | None) -> _Done:
        begun_ns = time.time_ns()
        if fresh is not None:
            self.decider.reset(*fresh)
        return _Done(run, self.decider.decide(samples), begun_ns, time.time_ns())

    def _foresee(self, chunk: ActionChunk) -> Foreseen | None:
        pictures = self.decider.predict()
        end_ns = chunk.stamp_ns + round(len(chunk.rows) * chunk.period_s * 1e9)
        return None if pictures is None else Foreseen(end_ns, pictures)
