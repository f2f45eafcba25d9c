"""Recording a session's backbone: rehearsed on a probe set, kept where it gives the same numbers sooner."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median

import numpy as np

from worldagen.engines.probe import Probe
from worldagen.network.captured import Recorder
from worldagen.session import NetworkPolicy

LARGEST_GAP = 1e-4  # of the rows, m and rad, and of pixels, normalised: the same sums, perhaps by another kernel
REHEARSALS = 6  # at most; two meet every call with both buffers


@dataclass(frozen=True, eq=False)
class _Played:
    """Rows of all decisions (R, 7), pictures of all (or none), median seconds of a decision."""

    rows: np.ndarray
    pixels: np.ndarray
    act_s: float


def capture_backbone(
    policy: NetworkPolicy, probe: Probe, record: Recorder, say: Callable[[str], None] = lambda _: None
) -> bool:
    """Try it, and leave the policy with the better one, before its first `reset` or after one; returns whether it is captured.

    say: hears the figures, or why it was refused.
    """
    length = policy.network.config.units + 2  # the window fills, and moves on
    try:
        plain = _play(policy, probe, length)
        captured = policy.use_captured_backbone(record)
        if captured is None:
            return False
        with captured.rehearsal():
            for number in range(REHEARSALS):
                known = captured.recorded
                _play(policy, probe, length + number)  # now an even, now an odd number: buffers change places
                if number and captured.recorded == known:
                    break
        found = _play(policy, probe, length)
    except RuntimeError as error:  # of CUDA, whatever it is; torch has no other type for it
        policy.use_lean_backbone()
        say(f"refused: a captured backbone: {str(error).splitlines()[0]}")
        return False
    gap = max(np.abs(found.rows - plain.rows).max(), np.abs(found.pixels - plain.pixels).max(initial=0.0))
    told = f"{found.act_s * 1e3:.1f} ms a decision, before {plain.act_s * 1e3:.1f}; numbers differ by {gap:.1e} at most"
    if not gap <= LARGEST_GAP or found.act_s >= plain.act_s:
        policy.use_lean_backbone()
        say(f"refused: a captured backbone: {told}, allowed {LARGEST_GAP:g}")
        return False
    say(f"captured backbone: {captured.recorded} calls recorded; {told}")
    return True


def _play(policy: NetworkPolicy, probe: Probe, length: int) -> _Played:
    """An episode of so many decisions, as a node asks for them."""
    words, _ = probe.runs[0]
    seen = islice(cycle([observation for _, run in probe.runs for observation in run]), length)
    between = policy.network.config.rows - 1 if policy.network.config.frames > 1 else 0
    rows, pixels, seconds = [], [np.empty(0)], []
    policy.reset(words)
    for observation in seen:
        begin = time.perf_counter()
        rows.append(policy.act(observation, [observation] * between).rows)
        seconds.append(time.perf_counter() - begin)
        if policy.can_predict:
            pixels.append(policy.predict_pixels().ravel())
        policy.prepare()
    return _Played(np.concatenate(rows), np.concatenate(pixels), median(seconds))
