"""Which decisions to make again, and what each is compared with.

Where every recorded chunk has as many rows as the policy gives, the same observations are answered, and chunk is compared with
chunk. Else, for a demonstrator's chunks of one row, say, an observation is answered every m rows, as the policy node would, and
compared with the rows that were executed from there on.

Legend: m rows of a chunk of the policy that is replayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from worldagen.replay.recorded import GivenChunk, RecordedRun, ReplayError
from worldagen.types import ActionChunk


@dataclass(frozen=True, eq=False)
class Decision:
    """One to be made again.

    stamp_ns: of the observation. log_ns: by when it had been recorded. afresh: the policy was reset just before, and took up
    these words. rows: (m, 7) what it is compared with.
    """

    stamp_ns: int
    log_ns: int
    words: str
    afresh: bool
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Plan:
    """All decisions, in order. against: "chunks" or "executed rows". notes: what the reader should know."""

    decisions: tuple[Decision, ...]
    against: str
    period_s: float
    notes: tuple[str, ...] = ()


def plan_decisions(run: RecordedRun, rows: int, max_gap_s: float) -> Plan:
    """rows: m. max_gap_s: a longer gap between two observations breaks the history, as in the policy node.

    Raises ReplayError when nothing can be compared.
    """
    lengths = sorted({len(given.chunk.rows) for given in run.chunks})
    period_s = run.chunks[0].chunk.period_s
    who = run.parameters.get("policy.kind", "")
    notes = [f"the recorded chunks were given by the {who}, not by a network"] if who not in ("", "network") else []
    if lengths == [rows]:
        return Plan(_same_decisions(run.chunks), "chunks", period_s, (*notes, *_holes(run.chunks)))
    recorded = " or ".join(str(length) for length in lengths)
    notes.append(f"recorded chunks have {recorded} rows, this network's {rows}: it decides every {rows} rows")
    decisions: list[Decision] = []
    for segment in _segments(run.chunks):
        decisions += _decide_every(segment, run.static_ns, rows, max_gap_s)
    if not decisions:
        raise ReplayError(f"{run.folder}: nowhere were {rows} rows executed in a row; the network gives {rows} at once")
    return Plan(tuple(decisions), "executed rows", period_s, (*notes, *_holes(run.chunks)))


def _same_decisions(chunks: Sequence[GivenChunk]) -> tuple[Decision, ...]:
    return tuple(
        Decision(given.chunk.stamp_ns, given.log_ns, given.words, given.chunk.sequence == 0 or index == 0, given.chunk.rows)
        for index, given in enumerate(chunks)
    )


def _holes(chunks: Sequence[GivenChunk]) -> list[str]:
    """What of the history is not in the bag; its decisions can then not be expected to be equal."""
    notes = []
    first = chunks[0].chunk.sequence
    if first:
        notes.append(f"the bag begins with decision {first}, what was seen before is not in it: the first ones will differ")
    lost = [
        (before.chunk.sequence, after.chunk.sequence)
        for before, after in pairwise(chunks)
        if after.chunk.sequence not in (0, before.chunk.sequence + 1)
    ]
    if lost:
        notes.append(f"chunks are missing in the bag, first between decisions {lost[0][0]} and {lost[0][1]}")
    return notes


def _segments(chunks: Sequence[GivenChunk]) -> list[list[GivenChunk]]:
    """Cut where the policy was reset."""
    segments: list[list[GivenChunk]] = []
    for given in chunks:
        if given.chunk.sequence == 0 or not segments:
            segments.append([])
        segments[-1].append(given)
    return segments


def _decide_every(segment: list[GivenChunk], static_ns: np.ndarray, rows: int, max_gap_s: float) -> list[Decision]:
    """From the segment's first observation on, the first picture after every m rows, while m rows were executed from it."""
    chunks = [given.chunk for given in segment]
    period_ns = chunks[0].period_s * 1e9
    end_ns = chunks[-1].stamp_ns + len(chunks[-1].rows) * period_ns
    pictures = static_ns[(static_ns[:, 0] >= chunks[0].stamp_ns) & (static_ns[:, 0] < end_ns)]
    decisions: list[Decision] = []
    due_ns, decided_ns = float(chunks[0].stamp_ns), None
    for stamp_ns, log_ns in pictures.tolist():
        if stamp_ns < due_ns:
            continue
        executed = _executed(chunks, stamp_ns + np.arange(rows) * period_ns)
        if executed is None:
            continue
        afresh = decided_ns is None or stamp_ns - decided_ns - rows * period_ns > max_gap_s * 1e9
        decisions.append(Decision(stamp_ns, log_ns, segment[0].words, afresh, executed))
        decided_ns, due_ns = stamp_ns, stamp_ns + (rows - 0.5) * period_ns  # half a row of camera jitter, as in schedule.py
    return decisions


def _executed(chunks: Sequence[ActionChunk], times_ns: np.ndarray) -> np.ndarray | None:
    """The row that the newest chunk has for each time: (m, 7); None where one has none."""
    stamps = np.array([chunk.stamp_ns for chunk in chunks])
    found = []
    for time_ns in times_ns:
        half_ns = 0.5 * chunks[0].period_s * 1e9
        newest = chunks[max(0, int(np.searchsorted(stamps, time_ns + half_ns, side="right")) - 1)]
        row = max(0, round((time_ns - newest.stamp_ns) / (newest.period_s * 1e9)))
        if row >= len(newest.rows):
            return None
        found.append(newest.rows[row])
    return np.array(found)
