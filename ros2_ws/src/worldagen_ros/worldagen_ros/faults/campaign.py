"""Many trials: stacks are started, the arm is set going, a fault is put in at a random moment, and what was seen is judged.

One stack serves all faults that can be undone, the others get one of their own:

    shared           a scripted policy, which plans far enough for a slow machine, and a manager that bears a silent node for
                     ten minutes, so that a node can be killed and started again
    seeing           the same with the network, which looks through the cameras and is told what to do
    managed          the deployment's own manager, which takes the stack down
    broken weights   a policy whose checkpoint holds NaN
"""

import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from worldagen.assembly import FROZEN_S
from worldagen.bags.disk import MIB, free_bytes
from worldagen.conventions import find_convention
from worldagen.errors import UnknownName
from worldagen_ros.config import DeploymentConfig, load_deployment
from worldagen_ros.faults.injecting import Rig, RigError, open_rig
from worldagen_ros.faults.judging import FAULT, GONE, RUNNING, Record, Verdict, judge
from worldagen_ros.faults.table import BROKEN, MANAGED, SEEING, SHARED, TABLE, Fault
from worldagen_ros.inputs import LOOKS_PER_PERIOD, PERIODS_OF_SILENCE

EARLIEST_S, LATEST_S = 0.05, 0.6  # of the injection, after the arm is seen to move
REACTION_S = 4.0  # so long the expected state may take, besides what is waited for on purpose
STILL_S = 0.3  # so long it is watched at rest
ARRIVES_S = 0.3  # so long what was sent may be on its way to us, where everything is late
FAULT_WATCHED_S = 0.4  # so long a FAULT is watched with everything in order again
BACK_S = 20.0  # so long the arm may take to go on
RESERVE_MIB = 6144  # of disk above the recorder's floor; others write on it, too
OVERRIDES = {
    "policy.kind": "expert",
    "policy.rows": "10",
    "command.deadman": "always",
    "recorder.enabled": "true",
    "adapt.checkpoint": "playtable",
    "explore.enabled": "false",
    "sim.ends_on_success": "false",
    "sim.max_steps": "1000000",
    "sim.reset_pause_s": "0.6",
}
NETWORK = {"policy.kind": "network", "policy.checkpoint": "playtable"}
NETWORK_ROWS = 5
# For a machine that cannot keep time: what is late because of it is not what a trial is about.
PATIENT = {
    "cameras.period_s": "0.2",
    "policy.max_gap_s": "2.0",
    "command.max_chunk_age_s": "2.0",
    "command.max_state_age_s": "1.0",
    "command.max_tick_gap_s": "1.0",
    "command.deadman_timeout_s": "1.0",
    "command.rate_hz": "50.0",  # a command lives for two ticks
    "command.limits.max_following_s": "2.0",
}


@dataclass(frozen=True)
class Trial:
    """One fault, once. late_s: of the time to a safe command, what goes beyond what is waited for on purpose."""

    fault: Fault
    verdict: Verdict
    late_s: float | None
    tick_s: tuple[float, float]  # jitter of the ticks as the command node told it, p99 and longest


def deployment(name: str, overrides: dict[str, str], folder: Path) -> DeploymentConfig:
    """A deployment that trials can be made with. folder: whose disk the recorder's floor is about."""
    floor = max(1, free_bytes(folder) // MIB - RESERVE_MIB)
    return load_deployment(name, {**OVERRIDES, "recorder.floor_mib": str(floor), **overrides})


def waits(config: DeploymentConfig) -> dict[str, float]:
    """What the code waits for on purpose, s, by the names in the table."""
    row_s = find_convention(config.robot.convention).period_s
    silence_s = PERIODS_OF_SILENCE * config.cameras.period_s + config.cameras.period_s / LOOKS_PER_PERIOD
    rows_s = (NETWORK_ROWS if config.policy.kind == "network" else config.policy.rows) * row_s  # of a whole chunk
    return {
        "": 0.0,
        "states": config.command.max_state_age_s,
        "silence": silence_s,  # the last picture may have come just then; then a chunk that stands is sent
        "rows": rows_s,
        "pairing": silence_s + rows_s,
        "frozen": FROZEN_S + silence_s,
        "decision": rows_s,  # until the next chunk comes
        "deadman": config.command.deadman_timeout_s,
        "button": 0.05,  # until it is said again
        "heartbeat": config.manager.heartbeat_timeout_s,
    }


def chosen(only: Sequence[str]) -> tuple[Fault, ...]:
    """The faults whose name begins with one of these; all for none. Raises UnknownName."""
    for name in only:
        if not any(fault.name.startswith(name) for fault in TABLE):
            raise UnknownName("fault", name, [fault.name for fault in TABLE])
    return tuple(fault for fault in TABLE if not only or any(fault.name.startswith(name) for name in only))


class Campaign:
    """Makes trials and keeps them. tell(trial): after each."""

    def __init__(
        self,
        name: str,
        overrides: dict[str, str],
        folder: Path,
        domain: int,
        seed: int,
        minutes: float,
        tell: Callable[[Trial], None],
    ) -> None:
        """minutes: after which no trial begins any more."""
        self._name, self._overrides, self._folder, self._domain, self._tell = name, overrides, folder, domain, tell
        self._chance, self._seed = random.Random(seed), seed
        self._until_s = time.monotonic() + 60.0 * minutes
        self._stacks = 0
        self.trials: list[Trial] = []
        self.failures: list[str] = []  # trials that could not be made

    @property
    def waits(self) -> dict[str, float]:
        """What is waited for on purpose, s."""
        return waits(deployment(self._name, self._overrides, self._folder))

    def run(self, faults: Sequence[Fault], trials: int, costly_trials: int) -> None:
        """So many of each fault, in rounds whose order is drawn from the seed; those with a stack of their own last."""
        rounds = []
        for number in range(max(trials, costly_trials)):
            one = [fault for fault in faults if number < (costly_trials if fault.costly else trials)]
            self._chance.shuffle(one)
            rounds += one
        end_s, begun_s = self._until_s, time.monotonic()
        for stack, share in ((SHARED, 0.5), (SEEING, 0.75)):  # of the time, where it is short
            self._until_s = begun_s + share * (end_s - begun_s)
            self._run_shared([fault for fault in rounds if fault.stack == stack], stack)
        self._until_s = end_s
        for fault in rounds:
            if fault.stack in (MANAGED, BROKEN) and not self.over:
                self._run_alone(fault)

    @property
    def over(self) -> bool:
        """Whether no trial may begin any more."""
        return time.monotonic() > self._until_s

    def _run_shared(self, faults: Sequence[Fault], stack: str) -> None:
        """One stack, and another where one could not be set going any more."""
        left = list(faults)
        with_adapt = any(fault.kind == "memory" for fault in faults)
        while left and not self.over:
            changes = {"manager.heartbeat_timeout_s": "600.0", "adapt.enabled": "true" if with_adapt else "false"}
            changes |= NETWORK if stack == SEEING else {}
            try:
                with self._rig(changes) as rig:
                    while left and not self.over:
                        self._try(rig, left[0])
                        left.pop(0)
                    rig.use_system_clock()
            except RigError as error:
                if left:
                    self.failures.append(f"{left.pop(0).name}: {error}")

    def _run_alone(self, fault: Fault) -> None:
        changes = {"adapt.enabled": "false"}
        if fault.stack == BROKEN:
            changes |= NETWORK
            changes["policy.checkpoint"] = json.dumps(str(broken_checkpoint(self._folder)))
        try:
            with self._rig(changes) as rig:
                self._try(rig, fault)
        except RigError as error:
            self.failures.append(f"{fault.name}: {error}")

    def _rig(self, changes: dict[str, str]) -> AbstractContextManager[Rig]:
        self._seed += 1
        config = deployment(self._name, {**changes, **self._overrides}, self._folder)
        self._stacks += 1
        return open_rig(config, self._folder / f"stack{self._stacks}", self._domain, self._seed)

    def _try(self, rig: Rig, fault: Fault) -> None:
        record = take(rig, fault, self._chance.uniform(EARLIEST_S, LATEST_S))
        trial = judged(rig, fault, record)
        self.trials.append(trial)
        if not trial.verdict.passed:  # what was seen, for whoever looks for the reason
            seen = {"fault": fault.name, "problems": trial.verdict.problems, **asdict(record)}
            (self._folder / f"wrong{len(self.trials)}.json").write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")
        self._tell(trial)


def judged(rig: Rig, fault: Fault, record: Record) -> Trial:
    """The record of a fault, judged by the deployment's limits."""
    command = rig.config.command
    verdict = judge(record, fault.expected, command.limits, 1.0 / command.rate_hz, command.max_chunk_age_s)
    waited_s = waits(rig.config)[fault.waits]
    late_s = None if verdict.safe_s is None else max(0.0, verdict.safe_s - waited_s)
    return Trial(fault, verdict, late_s, rig.watch.measured_tick)


def take(rig: Rig, fault: Fault, after_s: float) -> Record:
    """One trial: from an arm that moves to one that moves again, or to whatever is left. Raises RigError."""
    rig.prepare(fault)
    if fault.kind != "weights":
        rig.set_going()
    watch = rig.watch
    record = watch.begin()
    time.sleep(after_s)  # that is what makes the moment a random one
    record.injected_ns = time.time_ns()
    rig.inject(fault)
    begun_s = time.monotonic()
    awaited = [state for state in fault.expected.reaches if state not in (RUNNING, GONE)]
    if awaited:
        patience_s = REACTION_S + waits(rig.config)[fault.waits]
        rig.until(lambda: announced(record, awaited), patience_s)
        rig.until(lambda: watch.step_m() == 0.0, 1.0)
        time.sleep(STILL_S)  # watched: it stays at rest
    rig.until(lambda: time.monotonic() - begun_s > fault.lasts_s, fault.lasts_s + 1.0)
    if fault.how != "for good":
        record.undone_ns = time.time_ns()
        rig.undo(fault)
        come_back(rig, fault, record)
    rig.tidy(fault)
    ended_ns = time.time_ns()
    time.sleep(ARRIVES_S)  # the chunk that set it going comes from another sender than the news that it goes
    return watch.end(ended_ns)


def announced(record: Record, states: Sequence[str]) -> bool:
    """Whether one of the states was reached since the injection."""
    return any(said.state in states and said.sent_ns >= record.injected_ns for said in list(record.command))


def come_back(rig: Rig, fault: Fault, record: Record) -> None:
    """The fault is over: watch the arm go on; a FAULT is watched for a while, then cleared."""
    watch, ends = rig.watch, fault.expected.afterwards
    if fault.kind == "weights":
        return
    if watch.state == FAULT:
        time.sleep(FAULT_WATCHED_S)  # watched: no message leaves it
        record.cleared_ns = time.time_ns()
        rig.clear_fault()
    if RUNNING in ends:
        undone_ns = record.undone_ns
        rig.until(lambda: watch.command.sent_ns > undone_ns and watch.state in (RUNNING, FAULT), BACK_S)
    rig.until(lambda: watch.state in ends, 2.0)


def broken_checkpoint(folder: Path) -> Path:
    """A folder with weights of the preset playtable, all of them NaN."""
    import torch

    from worldagen.checkpoint import save_checkpoint
    from worldagen.session import make_policy

    place = folder / "broken"
    if not place.exists():
        policy = make_policy("playtable")
        with torch.no_grad():
            for weight in policy.network.parameters():
                weight.fill_(float("nan"))
        save_checkpoint(place, policy.network, policy.conventions, "every number is NaN, on purpose")
    return place
