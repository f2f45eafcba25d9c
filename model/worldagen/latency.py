"""From a picture to the first command that comes of it: when each step was passed, and how long the stages between them take.

Stamps are nanoseconds of a system clock, 0 where a step was not passed. Three clocks may take part: the camera's, that of the
policy's machine and that of the command node's. A stage between two clocks stands for itself, and what cannot be (less than no
time, or minutes) is counted and named, never left out without a word.

Legend: S stages, N newest traces.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from worldagen.errors import ConfigError

FAR_S = 60.0  # a longer stage, either way, is none: its two clocks have different days
PERCENTS = (50, 90, 99, 100)


class Trace(NamedTuple):
    """When an observation passed the steps, in their order. sequence: of the chunk that answers it.

    captured_ns: the camera's stamp, in lockstep simulation time. received_ns to published_ns: the policy's machine.
    arrived_ns, commanded_ns: the command node's.
    """

    sequence: int = 0
    captured_ns: int = 0
    received_ns: int = 0  # the message that completes the observation has arrived
    decoded_ns: int = 0  # and is decoded and checked
    begun_ns: int = 0  # the decision begins
    preprocessed_ns: int = 0  # pictures and joints are the network's numbers
    encoded_ns: int = 0  # pictures are tokens
    decided_ns: int = 0  # the rows are there
    published_ns: int = 0  # the chunk is handed to the middleware
    arrived_ns: int = 0  # the chunk has arrived
    commanded_ns: int = 0  # the first command that its rows move is handed to the middleware


@dataclass(frozen=True)
class Stage:
    """Between two steps. clocks: who stamps them, where it is not one. without: a part that does not count, by its steps."""

    name: str
    begin: str
    end: str
    meaning: str
    clocks: tuple[str, str] | None = None
    without: tuple[str, str] | None = None


STAGES = (
    Stage("camera", "captured", "received", "exposure to arrival: driver and transport", ("camera", "policy")),
    Stage("decode", "received", "decoded", "the last message of the observation becomes an array, and is checked"),
    Stage("wait", "decoded", "begun", "until the decision before is done, and the thread that decides has awoken"),
    Stage("preprocess", "begun", "preprocessed", "resize and normalisation, forward kinematics"),
    Stage("encode", "preprocessed", "encoded", "the network's encoders"),
    Stage("backbone", "encoded", "decided", "the rest of the network"),
    Stage("publish", "decided", "published", "back to the node's thread, and into a message"),
    Stage("deliver", "published", "arrived", "policy to command node", ("policy", "command")),
    Stage("command", "arrived", "commanded", "until the next tick, limits, and into a message"),
    Stage("total", "captured", "commanded", "exposure to first command", ("camera", "command")),
    Stage(
        "overhead", "captured", "commanded", "the same without the network", ("camera", "command"), ("preprocessed", "decided")
    ),
    Stage("inside", "received", "commanded", "arrival to first command", ("policy", "command")),
)
_STEPS = {name.removesuffix("_ns"): place for place, name in enumerate(Trace._fields)}


def durations_s(trace: Trace) -> list[float]:
    """(S,) seconds of each stage; NaN where one of its steps was not passed."""
    return [_duration_s(trace, stage) for stage in STAGES]


def _duration_s(trace: Trace, stage: Stage) -> float:
    steps = (stage.begin, stage.end, *(stage.without or ()))
    stamps = [trace[_STEPS[step]] for step in steps]
    if 0 in stamps:
        return float("nan")
    begin, end, *left_out = stamps
    return (end - begin - (left_out[1] - left_out[0] if left_out else 0)) * 1e-9


@dataclass(frozen=True)
class StageReport:
    """Statistics of a stage over the window, in seconds; NaN where nothing was measured.

    count: how many there are, `far` left out. negative: of these, how many took less than no time. far: how many lie more than
    FAR_S apart, which no percentile counts.
    """

    name: str
    count: int
    p50_s: float
    p90_s: float
    p99_s: float
    max_s: float
    negative: int
    far: int


class LatencyWindow:
    """The newest N traces. Adding one allocates no array."""

    def __init__(self, window: int = 600) -> None:
        """Raises ConfigError for a window that is not above 0."""
        if window < 1:
            raise ConfigError(f"a window of {window} traces; expected 1 or more")
        self._durations_s = np.full((len(STAGES), window), np.nan)  # (S, N)
        self.count = 0  # of all that were added

    def add(self, trace: Trace) -> None:
        """One more."""
        self._durations_s[:, self.count % self._durations_s.shape[1]] = durations_s(trace)
        self.count += 1

    def report(self) -> tuple[StageReport, ...]:
        """Of each stage, in their order."""
        return tuple(_report(stage.name, row) for stage, row in zip(STAGES, self._durations_s, strict=True))


def _report(name: str, seconds: np.ndarray) -> StageReport:
    measured = seconds[np.isfinite(seconds)]
    near = measured[np.abs(measured) <= FAR_S]
    percentiles = np.percentile(near, PERCENTS).tolist() if len(near) else [float("nan")] * len(PERCENTS)
    return StageReport(name, len(near), *percentiles, negative=int((near < 0).sum()), far=len(measured) - len(near))


def problems(reports: Iterable[StageReport]) -> list[str]:
    """What cannot be, in words."""
    told = []
    for report, stage in ((report, _stage(report.name)) for report in reports):
        between = f"the clocks of {' and '.join(stage.clocks)} differ" if stage.clocks else "the system clock was set"
        if report.negative:
            told.append(f"{report.name}: {report.negative} of {report.count} took less than no time: {between}")
        if report.far:
            told.append(
                f"{report.name}: {report.far} are more than {FAR_S:g} s apart and are not counted: {between}, "
                "or the stamps are simulation time"
            )
    return told


def format_table(reports: Sequence[StageReport]) -> str:
    """Milliseconds of each stage, in columns; what cannot be below."""
    lines = [f"{'stage, ms':<12}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}{'count':>8}  "]
    for report in reports:
        mark = "*" if report.negative or report.far else " "
        figures = (report.p50_s, report.p90_s, report.p99_s, report.max_s)
        cells = "".join(f"{1e3 * figure:9.1f}" if report.count else f"{'-':>9}" for figure in figures)
        lines.append(f"{report.name + mark:<12}{cells}{report.count:8d}  {_stage(report.name).meaning}")
    return "\n".join([*lines, *(f"* {problem}" for problem in problems(reports))])


def as_json(reports: Iterable[StageReport]) -> dict[str, Any]:
    """Stage -> its statistics in milliseconds, null where nothing was measured."""
    told: dict[str, Any] = {}
    for report in reports:
        figures = {name: value for name, value in asdict(report).items() if name.endswith("_s")}
        told[report.name] = {
            **{f"{name[:-2]}_ms": round(1e3 * value, 3) if report.count else None for name, value in figures.items()},
            "count": report.count,
            "negative": report.negative,
            "far": report.far,
        }
    return told


def _stage(name: str) -> Stage:
    return next(stage for stage in STAGES if stage.name == name)
