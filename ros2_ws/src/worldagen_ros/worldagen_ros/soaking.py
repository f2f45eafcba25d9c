"""A soak: a whole stack drives for a long time, things happen to it as they do on a robot, and its processes are looked at.

    with Stack(config, said := SaidLines()) as stack:
        samples = Soak(client, stack, said).run(SoakPlan(seconds=1800, adapters=(one, other), bag=bag))
    for check in judge(samples): ...

What happens: the active adapter is swapped, episodes begin anew, everything is recorded, and once an adaptation runs. What is
looked at: memory, threads and files of every process, shared memory, ticks of the command node, decisions, and what was said.
Linux only: processes are looked at through /proc. MB are 10^6 bytes.
"""

import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.action import ActionClient

from worldagen_msgs.action import Adapt
from worldagen_msgs.msg import ActionChunk, CommandStatus
from worldagen_msgs.srv import LoadAdapter, StartRecording, StopRecording
from worldagen_ros import qos, topics
from worldagen_ros.acquaintance import Acquaintance
from worldagen_ros.client import Execution, StackClient, StackError
from worldagen_ros.messages import stamp_to_ns
from worldagen_ros.spinning import spin_once
from worldagen_ros.stack import Stack
from worldagen_ros.watching import EVERYTHING, timed

MB = 1e6
ENDLESS = 1_000_000  # control steps
TASKS = ("open_drawer", "lift_red_block_table", "move_slider_left", "turn_on_lightbulb")
ADAPTED_S = 600.0  # so long an adaptation is waited for at the end
SETTLING_S = 30.0  # so long after an adaptation its traces are not judged
PARTICULARS = re.compile(r"'[^']*'|/\w\S*/\S+|[0-9][0-9.:+-]*")  # quotations, paths, numbers


@dataclass(frozen=True)
class ProcessSample:
    """What a process holds. rss: resident bytes; own: those of them that are neither files nor shared; cpu_s: used so far."""

    rss: int
    own: int
    threads: int
    files: int
    cpu_s: float


@dataclass(frozen=True)
class Sample:
    """The stack at an instant, and what happened since the sample before.

    ticks, missed_ticks: of the command node since it is active. inference_ms, latency_ms: of each chunk since; latency is from
    the capture of its observation until it was sent. said: lines by node and severity since. shared: bytes of shared memory
    that the processes have mapped.
    """

    at_s: float
    processes: dict[str, ProcessSample]
    shared: int
    state: int
    ticks: int
    missed_ticks: int
    jitter_p50_ms: float
    jitter_p99_ms: float
    jitter_max_ms: float
    inference_ms: tuple[float, ...]
    latency_ms: tuple[float, ...]
    said: dict[str, dict[str, int]]
    events: dict[str, int]
    adapting: bool
    load: float


@dataclass(frozen=True)
class SoakPlan:
    """What happens. adapters: folders that are made active in turn; bag: of an exploration, adapted to once by a recipe."""

    seconds: float
    adapters: tuple[str, ...] = ()
    bag: str = ""
    recipe: str = "default"
    recording: str = ""  # folder of the bag that is recorded; empty: none
    scene: str = "D"
    sample_s: float = 5.0
    swap_s: float = 5.0
    episode_s: float = 60.0
    adapt_at: float = 0.3  # share of the time; early, so that the second half tells of the time after it


@dataclass(frozen=True)
class Check:
    """One thing that a soak must show."""

    name: str
    found: float
    bound: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether it does."""
        return self.found <= self.bound

    def __str__(self) -> str:
        return f"{self.name}: {self.found:.3g} {self.unit}, at most {self.bound:g}: {'yes' if self.passed else 'NO'}"


class SaidLines:
    """Counts the lines that nodes print; give it to a Stack. Texts are told apart without their particulars."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: Counter[tuple[str, str]] = Counter()
        self._texts: Counter[str] = Counter()
        self._complaints: deque[str] = deque(maxlen=10)

    def __call__(self, name: str, line: str) -> None:
        severity, colon, _ = line.partition(": ")
        severity = severity if colon and severity.isupper() else "OTHER"
        with self._lock:
            self._since[name, severity] += 1
            self._texts[f"[{name}] {PARTICULARS.sub('#', line)}"] += 1
            if severity in ("ERROR", "FATAL", "OTHER"):
                self._complaints.append(f"[{name}] {line}")

    def complaints(self) -> str:
        """The last errors, a line each, for whoever must say why a stack has ended."""
        with self._lock:
            return "".join(f"\n  {line}" for line in self._complaints)

    def forget(self) -> None:
        """Start counting afresh."""
        with self._lock:
            self._since.clear()
            self._texts.clear()

    def texts(self) -> Counter[str]:
        """How often each text was said."""
        with self._lock:
            return Counter(self._texts)

    def taken(self) -> dict[str, dict[str, int]]:
        """Lines by node and severity since the last call."""
        with self._lock:
            since, self._since = self._since, Counter()
        told: dict[str, dict[str, int]] = {}
        for (name, severity), count in since.items():
            told.setdefault(name, {})[severity] = count
        return told


class Soak:
    """One stack, driven and looked at. Raises StackError when a node ends, or refuses what is asked of it."""

    def __init__(self, client: StackClient, stack: Stack, names: Sequence[str], said: SaidLines) -> None:
        """names: of the nodes whose processes are looked at."""
        self._client, self._stack, self._said = client, stack, said
        self._pids = {name: stack.pid(name) for name in names}
        self._status = CommandStatus()
        self._inference_ms: list[float] = []
        self._latency_ms: list[float] = []
        self._events: Counter[str] = Counter()
        self._execution: Execution | None = None
        self._refused = ""  # what was, and why
        self._adapting = False
        self.texts: Counter[str] = Counter()  # what was said
        self.adapted: Adapt.Result | None = None  # how the adaptation ended
        self.recorded: StopRecording.Response | None = None
        client.create_subscription(CommandStatus, topics.COMMAND_STATUS, self._on_status, qos.LATCHED)
        client.create_subscription(ActionChunk, topics.ACTION_CHUNK, timed(self._on_chunk), EVERYTHING)
        self._load: Any = client.create_client(LoadAdapter, topics.LOAD_ADAPTER)
        self._start: Any = client.create_client(StartRecording, topics.START_RECORDING)
        self._stop: Any = client.create_client(StopRecording, topics.STOP_RECORDING)
        self._adapt = ActionClient(client, Adapt, topics.ADAPT)
        self._acquaintances = {name: Acquaintance(client, name) for name in names}  # made last, on purpose

    def run(self, plan: SoakPlan) -> tuple[Sample, ...]:
        """Let it all happen; returns what was seen, the first sample from when the robot drives."""
        try:
            self._prepare(plan)
            samples = self._drive(plan)
            self._finish(plan)
            return samples
        finally:
            self._adapt.destroy()

    def _prepare(self, plan: SoakPlan) -> None:
        """Until the robot drives and everything it says is recorded."""
        client = self._client
        client.wait_until_ready()
        for name, acquaintance in self._acquaintances.items():
            client.wait(acquaintance.made, f"an answer of node {name}")
        if plan.recording:
            self._ask(self._start, StartRecording.Request(bag=plan.recording))
        self._begin_episode(plan.scene, 0)
        client.wait(lambda: len(self._latency_ms) > 5, "chunks")
        self._inference_ms.clear()
        self._latency_ms.clear()
        self._said.forget()

    def _drive(self, plan: SoakPlan) -> tuple[Sample, ...]:
        """What happens, and looking at it."""
        began_s = time.monotonic()
        samples, swaps, episodes = [self._look(0.0)], 0, 0
        while (now_s := time.monotonic() - began_s) < plan.seconds:
            spin_once(self._client, 0.05)
            if problem := self._stack.ended() or self._refused:
                raise StackError(f"{problem}{self._said.complaints()}")
            if now_s >= len(samples) * plan.sample_s:
                samples.append(self._look(now_s))
            if plan.adapters and now_s >= (swaps + 1) * plan.swap_s:
                self._swap(plan.adapters[swaps % len(plan.adapters)])
                swaps += 1
            if now_s >= (episodes + 1) * plan.episode_s:
                episodes += 1
                self._begin_episode(plan.scene, episodes)
            if plan.bag and now_s >= plan.adapt_at * plan.seconds and not self._events["adaptation"]:
                self._begin_adaptation(plan.bag, plan.recipe)
        samples.append(self._look(time.monotonic() - began_s))
        self.texts = self._said.texts()
        return tuple(samples)

    def _finish(self, plan: SoakPlan) -> None:
        """An adaptation that still runs is waited for; what was recorded is whole."""
        self._client.wait(lambda: not self._adapting, "the end of the adaptation", ADAPTED_S)
        if self._execution is not None:
            self._execution.cancel()
        if plan.recording:
            self.recorded = self._ask(self._stop, StopRecording.Request())

    # -- what happens ------------------------------------------------------------------------------------------------------

    def _begin_episode(self, scene: str, number: int) -> None:
        if self._execution is not None:
            self._execution.cancel()
        instruction = self._client.reset_simulator(TASKS[number % len(TASKS)], scene, number, ENDLESS)
        self._execution = self._client.begin(instruction)
        self._events["episode"] += 1

    def _swap(self, folder: str) -> None:
        """Asked for, not waited for: the robot drives on, and so do we."""

        def answered(future: Any) -> None:
            self._refused = self._refused or ("" if future.result().success else future.result().message)

        self._load.call_async(LoadAdapter.Request(path=folder)).add_done_callback(answered)
        self._events["swap"] += 1

    def _begin_adaptation(self, bag: str, recipe: str) -> None:
        def ended(future: Any) -> None:
            self.adapted, self._adapting = future.result().result, False

        def answered(future: Any) -> None:
            if not future.result().accepted:
                self._refused = f"the adapt node rejected {bag}; look at its log"
                return
            future.result().get_result_async().add_done_callback(ended)

        self._adapting = True
        self._adapt.send_goal_async(Adapt.Goal(bag=bag, recipe=recipe)).add_done_callback(answered)
        self._events["adaptation"] += 1

    def _ask(self, client: Any, request: Any) -> Any:
        self._client.wait(client.service_is_ready, f"the service {client.srv_name}")
        future = client.call_async(request)
        self._client.wait(future.done, f"an answer of {client.srv_name}")
        if not future.result().success:
            raise StackError(future.result().message)
        return future.result()

    # -- what is looked at -------------------------------------------------------------------------------------------------

    def _on_status(self, msg: CommandStatus) -> None:
        self._status = msg

    def _on_chunk(self, msg: ActionChunk, sent_ns: int) -> None:
        self._inference_ms.append(1e3 * msg.inference_time)
        self._latency_ms.append(1e-6 * (sent_ns - stamp_to_ns(msg.header.stamp)))

    def _look(self, at_s: float) -> Sample:
        status = self._status
        sample = Sample(
            at_s=at_s,
            processes={name: look_at(pid) for name, pid in self._pids.items()},
            shared=shared_bytes(self._pids.values()),
            state=status.state,
            ticks=status.ticks,
            missed_ticks=status.missed_ticks,
            jitter_p50_ms=1e3 * status.jitter_p50,
            jitter_p99_ms=1e3 * status.jitter_p99,
            jitter_max_ms=1e3 * status.jitter_max,
            inference_ms=tuple(self._inference_ms),
            latency_ms=tuple(self._latency_ms),
            said=self._said.taken(),
            events=dict(self._events),
            adapting=self._adapting,
            load=os.getloadavg()[0],
        )
        self._inference_ms.clear()
        self._latency_ms.clear()
        return sample


def look_at(pid: int) -> ProcessSample:
    """A process now. Raises StackError when there is none."""
    folder = Path(f"/proc/{pid}")
    try:
        lines = (folder / "status").read_text("utf-8").splitlines()
        status = {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if value.strip()}
        times = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()
        return ProcessSample(
            rss=1024 * int(status["VmRSS"]),
            own=1024 * int(status["RssAnon"]),
            threads=int(status["Threads"]),
            files=len(os.listdir(folder / "fd")),
            cpu_s=(int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
        )
    except (OSError, KeyError) as error:  # a process that has ended is there for a while, without its memory
        raise StackError(f"process {pid} is gone: {error}") from None


def shared_bytes(pids: Iterable[int]) -> int:
    """Size of all files in /dev/shm that these processes have mapped; each counts once."""
    files = set()
    for pid in pids:
        for line in Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines():
            _, slash, name = line.partition("/dev/shm/")
            if slash and not name.endswith(" (deleted)"):
                files.add(name)
    return sum(Path("/dev/shm", name).stat().st_size for name in files if Path("/dev/shm", name).exists())


# -- what it tells -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bounds:
    """What a soak must show."""

    growth_mb_per_h: float = 5.0  # of every process
    missed_share: float = 0.0  # of the command node's ticks
    latency_growth: float = 0.2  # of the median, from the first third to the last
    lines_per_10_s: float = 1.0  # of INFO by a node, on top of the lines that tell of an event
    not_running_share: float = 0.2


BOUNDS = Bounds()
EVENT_LINES = {"episode": {"sim": 1, "policy": 2, "command": 1}, "swap": {"policy": 1}, "adaptation": {"adapt": 4}}


def judge(samples: Sequence[Sample], bounds: Bounds = BOUNDS) -> tuple[Check, ...]:
    """Every check, in the order in which it matters."""
    first, last = samples[0], samples[-1]
    second_half = [sample for sample in calm(samples) if sample.at_s >= last.at_s / 2]
    times_h = np.array([sample.at_s for sample in second_half]) / 3600
    checks = []
    for name in first.processes:
        held = np.array([sample.processes[name].rss for sample in second_half]) / MB
        checks.append(Check(f"memory of {name} grows", slope(times_h, held), bounds.growth_mb_per_h, "MB/h"))
    ticks, missed = last.ticks - first.ticks, last.missed_ticks - first.missed_ticks
    checks.append(Check(f"missed of {ticks} ticks", missed, bounds.missed_share * ticks, "ticks"))
    begin, end = (median_latency(samples, *part) for part in ((0, 1 / 3), (2 / 3, 1)))
    checks.append(Check("median latency grows", end / begin - 1, bounds.latency_growth, "of itself"))
    for name in first.processes:
        checks.append(Check(f"INFO lines of {name}", lines_per_10_s(samples, name), bounds.lines_per_10_s, "in 10 s"))
    others = sum(sample.state != CommandStatus.RUNNING for sample in samples[1:]) / max(len(samples) - 1, 1)
    checks.append(Check("samples in which the arm did not run", others, bounds.not_running_share, "of all"))
    return tuple(checks)


def calm(samples: Sequence[Sample]) -> list[Sample]:
    """Those outside an adaptation and the time in which its traces settle."""
    busy_s = [sample.at_s for sample in samples if sample.adapting]
    if not busy_s:
        return list(samples)
    return [sample for sample in samples if not min(busy_s) <= sample.at_s <= max(busy_s) + SETTLING_S]


def slope(times: np.ndarray, values: np.ndarray) -> float:
    """Of the line with the least squares through values (N,) at times (N,); nan for fewer than three."""
    return float(np.polyfit(times, values, 1)[0]) if len(times) > 2 else float("nan")


def median_latency(samples: Sequence[Sample], begin: float, end: float) -> float:
    """Median of latency_ms between two shares of the time, outside adaptations; nan where there was no chunk."""
    last_s = samples[-1].at_s
    part = [sample for sample in calm(samples) if begin * last_s < sample.at_s <= end * last_s]
    times = [value for sample in part for value in sample.latency_ms]
    return float(np.median(times)) if times else float("nan")


def lines_per_10_s(samples: Sequence[Sample], name: str) -> float:
    """Lines of INFO by a node, less those that tell of an event; at least 0."""
    said = sum(sample.said.get(name, {}).get("INFO", 0) for sample in samples[1:])
    for event, lines in EVENT_LINES.items():
        said -= lines.get(name, 0) * (samples[-1].events.get(event, 0) - samples[0].events.get(event, 0))
    return max(0.0, 10.0 * said / max(samples[-1].at_s - samples[0].at_s, 1e-9))
