"""Expected against seen: the record of one trial in, a verdict out. No ROS, no clock.

Times are wall nanoseconds at which a message was handed to the middleware, by its sender.

A SAFE COMMAND, defined: the first command from which on the commanded pose only slows down, in translation and in rotation,
until it rests: each of the motions after it is slower than the one before. It is looked for backwards, from the rest that
follows the first announcement of a state in which nothing moves. When the sender is gone, the last command it sent is the safe
one, since nothing follows that could move an arm. The TIME TO A SAFE COMMAND runs from the injection to that command; it is 0
when that had been sent before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from worldagen.limits import LimitsConfig
from worldagen.smoothing import turn_between

RUNNING, READY, HOLD, FAULT, GONE = "RUNNING", "READY", "HOLD", "FAULT", "GONE"
RESTING_TICKS = 5  # so many equal commands in a row are rest
STILL = 1e-9  # m or rad per tick; less is rounding
ROUNDING = 0.02  # share of a limit; turns are limited as derivatives, and finite differences are not quite those (smoothing.py)
WINDOW_S = 0.1  # over which speed by the clock is taken
OLD_NS = 50_000_000  # so much older than the loss of the plan a chunk's stamp may be: the way of the message
NOT_FOLLOWED = "where it was sent"  # a FAULT that sets the pose back
RAN_OUT = "rows ran out"  # a HOLD in which nothing was wrong with the plan


@dataclass(frozen=True)
class Command:
    """One message of `target_pose`. number: of its publisher, counted from 1; one that is missing was lost on its way to us."""

    sent_ns: int
    number: int
    position: tuple[float, ...]  # (3,) m
    quaternion: tuple[float, ...]  # (4,) x, y, z, w


@dataclass(frozen=True)
class Said:
    """A state that was announced, and the words that came with it. number: of its publisher, counted from 1; 0: unknown."""

    sent_ns: int
    state: str
    reason: str = ""
    number: int = 0

    def __str__(self) -> str:
        return f"in {self.state} ({self.reason})" if self.reason else f"in {self.state}"


@dataclass(frozen=True)
class HeardChunk:
    """A chunk as it reached the command node."""

    sent_ns: int
    stamp_ns: int
    sequence: int


@dataclass
class Record:
    """What was seen in one trial."""

    injected_ns: int = 0
    undone_ns: int = 0  # when the fault was over; 0: it never was
    cleared_ns: int = 0  # when a person cleared a FAULT; 0: nobody did
    ended_ns: int = 0
    commands: list[Command] = field(default_factory=list)
    openings: list[float] = field(default_factory=list)
    command: list[Said] = field(default_factory=list)  # states of the command node; the first is from before the injection
    policy: list[Said] = field(default_factory=list)
    stack: list[Said] = field(default_factory=list)
    troubles: list[Said] = field(default_factory=list)  # diagnostics above OK: state is the name of the status
    chunks: list[HeardChunk] = field(default_factory=list)
    clock_disturbed: bool = False  # stamps cannot be compared with times


@dataclass(frozen=True)
class Expected:
    """What has to be seen. reaches: states of the command node, one of which is reached while the fault lasts; GONE: it says
    nothing more. afterwards: its state in the end. shows: part of the name of a status in the diagnostics that must be above
    OK. stack: the stack's last state."""

    reaches: tuple[str, ...]
    afterwards: tuple[str, ...] = (RUNNING,)
    shows: str = ""
    stack: str = "ACTIVE"


@dataclass(frozen=True)
class Verdict:
    """problems: empty when all is as expected. Times in s, None where there is none."""

    problems: tuple[str, ...]
    states: tuple[str, ...]
    announced_s: float | None = None  # from the injection to the announcement of the state that was expected
    safe_s: float | None = None  # time to a safe command
    rest_s: float | None = None  # from the injection to rest
    recovery_s: float | None = None  # from the end of the fault, or the clearing of a FAULT, to RUNNING
    commands: int = 0
    lost: int = 0  # commands that did not reach us
    why: str = ""  # what the command node gave as the reason

    @property
    def passed(self) -> bool:
        return not self.problems


def judge(record: Record, expected: Expected, limits: LimitsConfig, period_s: float, max_chunk_age_s: float) -> Verdict:
    """limits, period_s, max_chunk_age_s: the command node's."""
    during = [said for said in record.command if record.injected_ns <= said.sent_ns <= (record.undone_ns or record.ended_ns)]
    states = _without_repeats([said.state for said in record.command])
    problems = [*outside_envelope(record, limits, period_s), *moved_by_old_plans(record, max_chunk_age_s)]
    safe_s = rest_s = None
    reached = next((said for said in during if said.state in expected.reaches), None)
    if GONE in expected.reaches:
        after = [command.sent_ns for command in record.commands if command.sent_ns >= record.injected_ns]
        until = record.undone_ns or record.ended_ns
        last_ns = max((sent_ns for sent_ns in after if sent_ns < until), default=record.injected_ns)
        safe_s = (last_ns - record.injected_ns) * 1e-9
        if until - last_ns < 0.2e9:
            problems.append("commands went on, although the command node was to be gone")
    elif RUNNING in expected.reaches:
        pass  # nothing has to happen
    elif reached is None:
        problems.append(f"{' or '.join(expected.reaches)} was not reached; seen: {' '.join(states)}")
    else:
        found = time_to_safe(record, reached.sent_ns)
        if found is None:
            problems.append(f"the pose did not come to rest after {reached.state}")
        else:
            safe_s, rest_s = found
            problems += _moved_at_rest(record, record.injected_ns + round(rest_s * 1e9))
    if FAULT not in expected.reaches and FAULT in states:
        why = next(said.reason for said in record.command if said.state == FAULT)
        problems.append(f"FAULT was not expected: {why}")
    problems += _left_fault(record)
    last = record.command[-1].state if record.command else GONE
    if expected.afterwards and last not in expected.afterwards:
        problems.append(f"in the end {last}; expected {' or '.join(expected.afterwards)}")
    if expected.shows and not any(expected.shows in said.state for said in record.troubles):
        problems.append(f"no status {expected.shows!r} above OK in the diagnostics")
    if record.stack and record.stack[-1].state != expected.stack:
        problems.append(f"the stack is {record.stack[-1].state} ({record.stack[-1].reason}); expected {expected.stack}")
    return Verdict(
        problems=tuple(problems),
        states=tuple(states),
        announced_s=(reached.sent_ns - record.injected_ns) * 1e-9 if reached else None,
        safe_s=safe_s,
        rest_s=rest_s,
        recovery_s=_recovery_s(record),
        commands=len(record.commands),
        lost=sum(max(0, b.number - a.number - 1) for a, b in pairwise(record.commands)),
        why=reached.reason if reached else "",
    )


def time_to_safe(record: Record, announced_ns: int) -> tuple[float, float] | None:
    """Seconds from the injection to the safe command and to rest; None when there was no rest. See the module."""
    chain = next((chain for chain in reversed(chains(record)) if chain[0].sent_ns <= announced_ns), None)
    if chain is None:  # nothing had been commanded
        return 0.0, 0.0
    steps = motions(chain)  # (N - 1, 6)
    speeds = np.stack([np.linalg.norm(steps[:, :3], axis=1), np.linalg.norm(steps[:, 3:], axis=1)], axis=1)
    still: np.ndarray = np.all(speeds < STILL, axis=1)
    first = next((index for index, command in enumerate(chain) if command.sent_ns >= announced_ns), len(chain) - 1)
    for rest in range(max(first - 1, 0), len(still)):
        window = still[rest : rest + RESTING_TICKS]
        if window.all() and (len(window) == RESTING_TICKS or rest + len(window) == len(still)):
            break  # where READY follows, nothing is commanded any more
    else:
        if chain[-1].sent_ns > announced_ns:
            return None
        last_s = max(0.0, (chain[-1].sent_ns - record.injected_ns) * 1e-9)
        return last_s, last_s  # nothing was commanded after the announcement
    safe = rest
    neither, some = speeds[:-1] >= speeds[1:] - STILL, speeds[:-1] > speeds[1:]  # grew, shrank
    slower: np.ndarray = np.all(neither, axis=1) & np.any(some, axis=1)  # than the motion before
    while safe > 0 and slower[safe - 1]:
        safe -= 1
    # Motion k leads from command k to k + 1; the one before the slower ones is the last that was not slower.
    began_ns, rested_ns = chain[safe].sent_ns, chain[rest].sent_ns
    return max(0.0, (began_ns - record.injected_ns) * 1e-9), max(0.0, (rested_ns - record.injected_ns) * 1e-9)


def chains(record: Record) -> list[list[Command]]:
    """The commands, cut where the pose was put onto the measured one anew: where READY or DISABLED was announced in between,
    where a FAULT set it back to an arm that did not follow, or where another publisher began."""
    cuts = sorted(said.sent_ns for said in record.command if said.state in (READY, "DISABLED"))
    for heard, following in pairwise(record.command):
        if heard.number and following.number > heard.number + 1:
            cuts.append(following.sent_ns)  # one that was not heard lies between, and may have been READY
    for said in record.command:
        if said.state == FAULT and NOT_FOLLOWED in said.reason:  # announced right after the command that sets it back
            cuts += [max((one.sent_ns for one in record.commands if one.sent_ns <= said.sent_ns), default=0)]
    found: list[list[Command]] = []
    before: Command | None = None
    for command in record.commands:
        anew = before is None or command.number <= before.number
        if anew or any(before.sent_ns <= cut <= command.sent_ns for cut in cuts):  # type: ignore[union-attr]
            found.append([])
        found[-1].append(command)
        before = command
    return found


def motions(chain: Sequence[Command]) -> np.ndarray:
    """(N, 7 numbers) commands -> (N - 1, 6) translations and rotation vectors from each to the next."""
    steps = [
        np.concatenate([np.subtract(b.position, a.position), turn_between(np.array(a.quaternion), np.array(b.quaternion))])
        for a, b in pairwise(chain)
    ]
    return np.array(steps).reshape(-1, 6)


def outside_envelope(record: Record, limits: LimitsConfig, period_s: float) -> list[str]:
    """What a command did that none may do, in words.

    Speed, acceleration and jerk are the differences of successive commands by the period of the ticks, for that is what a
    controller makes of them; commands that were lost on the way to us end such a series. Over a tenth of a second the speed is
    taken by the times at which commands were sent, too.
    """
    problems = []
    numbers = [number for command in record.commands for number in (*command.position, *command.quaternion)]
    if not all(map(math.isfinite, [*numbers, *record.openings])):
        return ["a command with a number that is not finite was sent"]
    if any(not 0.0 <= opening <= 1.0 for opening in record.openings):
        problems.append("a gripper command outside 0 to 1 was sent")
    for command in record.commands:
        low, high = np.array(limits.workspace_low_m) - 1e-6, np.array(limits.workspace_high_m) + 1e-6
        if not ((low <= command.position) & (command.position <= high)).all():
            problems.append(f"the work space was left: {[round(number, 4) for number in command.position]} m")
            break
    bounds = {
        "speed": (limits.max_speed_mps, limits.max_speed_radps),
        "acceleration": (limits.max_accel_mps2, limits.max_accel_radps2),
        "jerk": (limits.max_jerk_mps3, limits.max_jerk_radps3),
    }
    worst = dict.fromkeys(bounds, (0.0, 0.0))
    for chain in chains(record):
        steps, lost = motions(chain), [b.number - a.number for a, b in pairwise(chain)]
        series = steps / (np.array(lost).reshape(-1, 1) * period_s)  # (N - 1, 6) speeds, even over what was lost
        whole = np.array(lost) == 1
        for order, name in enumerate(bounds):
            if order:
                series, whole = np.diff(series, axis=0) / period_s, whole[1:] & whole[:-1]
            kept = series[whole] if order else series
            sizes = np.linalg.norm(kept.reshape(-1, 2, 3), axis=2)
            if len(sizes):
                worst[name] = tuple(np.maximum(worst[name], sizes.max(axis=0)).tolist())
        problems += _too_fast_by_the_clock(chain, limits, period_s)
    for name, (metres, radians) in worst.items():
        for size, bound, unit in ((metres, bounds[name][0], "m"), (radians, bounds[name][1], "rad")):
            if size > bound * (1 + ROUNDING):
                problems.append(f"{name} {size:.3g} {unit} per s and powers; allowed: {bound:g}")
    return problems


def _too_fast_by_the_clock(chain: Sequence[Command], limits: LimitsConfig, period_s: float) -> list[str]:
    first = 0
    for last, command in enumerate(chain):
        while command.sent_ns - chain[first].sent_ns > WINDOW_S * 1e9:
            first += 1
        seconds = (command.sent_ns - chain[first].sent_ns) * 1e-9 + 2 * period_s  # ticks come early and late
        way_m = math.dist(command.position, chain[first].position)
        if way_m > limits.max_speed_mps * seconds * (1 + ROUNDING):
            return [f"{way_m:.3f} m within {seconds:.3f} s by the clock, command {last}"]
    return []


def moved_by_old_plans(record: Record, max_chunk_age_s: float) -> list[str]:
    """Each time RUNNING began: whether the chunk that began it answers an observation from after the arm was last moved by a
    plan: by the command before that of the tick in which it was stopped. Where ticks are late, that can be long before."""
    problems, left = [], None
    for before, said in pairwise(record.command):
        if before.state == RUNNING != said.state:
            left = said
        if record.clock_disturbed or said.state != RUNNING or before.state == RUNNING:
            continue
        words = said.reason.split()  # "chunk 12 plays"
        heard = [chunk for chunk in record.chunks if chunk.sent_ns <= said.sent_ns and words[1:2] == [str(chunk.sequence)]]
        if not heard:
            continue
        age_s = (said.sent_ns - heard[-1].stamp_ns) * 1e-9
        if age_s > max_chunk_age_s + 2 * OLD_NS * 1e-9:
            problems.append(f"a chunk {age_s:.2f} s old began to play")
        stopped = left is not None and left.state in (HOLD, FAULT) and RAN_OUT not in left.reason  # else its age is what counts
        if left is None or not stopped:
            continue
        ticks = [command.sent_ns for command in record.commands if command.sent_ns <= left.sent_ns]
        moved_ns = ticks[-2] if len(ticks) > 1 else left.sent_ns
        if heard[-1].stamp_ns < moved_ns - OLD_NS:
            old_s = (left.sent_ns - heard[-1].stamp_ns) * 1e-9
            problems.append(f"a plan from {old_s:.2f} s before {left.state} ({left.reason}) was played after it")
    return problems


def _moved_at_rest(record: Record, rested_ns: int) -> list[str]:
    """Motion between rest and the end of the fault, while no state allows it."""
    moving = [said.sent_ns for said in record.command if said.state == RUNNING and said.sent_ns > rested_ns]
    until_ns = min([record.undone_ns or record.ended_ns, *moving])
    resting = [command for command in record.commands if rested_ns <= command.sent_ns < until_ns - OLD_NS]
    if len(resting) > 1 and np.abs(motions([resting[0], resting[-1]])).max() > STILL * len(resting):
        return ["the commanded pose moved again while the fault lasted"]
    return []


def _left_fault(record: Record) -> list[str]:
    for before, said in pairwise(record.command):
        person = record.cleared_ns and said.sent_ns >= record.cleared_ns
        if before.state == FAULT and said.state not in (FAULT, "DISABLED") and not person:
            return [f"FAULT was left for {said.state} although nobody cleared it"]
    return []


def _recovery_s(record: Record) -> float | None:
    since_ns = record.cleared_ns or record.undone_ns
    again = [said.sent_ns for said in record.command if said.state == RUNNING and said.sent_ns >= since_ns]
    stopped = any(said.state != RUNNING and said.sent_ns >= record.injected_ns for said in record.command)
    return (min(again) - since_ns) * 1e-9 if since_ns and again and stopped else None


def _without_repeats(states: Sequence[str]) -> list[str]:
    return [state for index, state in enumerate(states) if index == 0 or state != states[index - 1]]
