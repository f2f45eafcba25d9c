"""Which past unit holds which frames and which actions. Pure bookkeeping: no tensors are computed here.

Two modes. `aligned` pairs the frames of step t with the chunk that was executed after them. `reference` repeats the
published evaluation, whose action pass falls one unit behind once the window slides: frames have moved on, actions have not.

Legend: K units in the window; step t is the t-th decision since reset, from 0; u = min(t, K - 1) is the newest unit.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np

HistoryMode = Literal["aligned", "reference"]
HISTORY_MODES = ("aligned", "reference")
Chunk = TypeVar("Chunk")


def past_chunks(executed: Sequence[Chunk], newest_unit: int, mode: HistoryMode) -> list[Chunk]:
    """The chunks that stand in units 0..u-1 of the action pass. executed: the last (at most K) chunks, oldest first."""
    if mode == "reference":
        return list(executed[:newest_unit])
    return list(executed[len(executed) - newest_unit :])


def world_pass_extends_action_pass(step: int, units: int, mode: HistoryMode) -> bool:
    """Whether both passes of a step show the same past, so that the world pass may go on from the action pass."""
    return mode == "aligned" or step < units


def sampled_frames(frames: int, rows: int) -> list[int]:
    """Which of the m frames seen while a chunk ran become the next unit: the last, or n spread from first to last.

    Rounding is half to even, as in the published evaluation: n=3, m=5 -> 0, 2, 4.
    """
    if frames == 1:
        return [rows - 1]
    return [int(index) for index in np.linspace(0, rows - 1, frames).round()]
