"""Values are checked once, at the door, and cannot change afterwards."""

import numpy as np
import pytest

from worldagen.errors import BadChunk, BadObservation
from worldagen.types import ActionChunk, Observation

PICTURE = np.zeros((4, 6, 3), np.uint8)
STATE = np.zeros(7)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"static_image": PICTURE.astype(np.float32)}, "static_image .* float32"),
        ({"wrist_image": PICTURE[..., 0]}, r"wrist_image has shape \(4, 6\)"),
        ({"wrist_image": PICTURE[:0]}, "wrist_image has shape"),
        ({"static_image": PICTURE.transpose(2, 0, 1)}, r"\(3, 4, 6\)"),
        ({"state": STATE[:6]}, r"state has shape \(6,\)"),
        ({"state": STATE + np.nan}, "not finite"),
    ],
)
def test_a_bad_observation_is_refused(changes, says):
    good = {"stamp_ns": 0, "static_image": PICTURE, "wrist_image": PICTURE, "state": STATE}
    with pytest.raises(BadObservation, match=says):
        Observation(**{**good, **changes})


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (np.zeros((0, 7)), "expected"),
        (np.zeros((5, 6)), r"\(5, 6\)"),
        (np.zeros(7), "expected"),
        (np.array([[0, 0, np.inf, 0, 0, 0, 1.0]]), "inf in row 0, column 2"),
        (np.array([[0, 0, 0, 0, 0, 0, 1.0], [0, np.nan, 0, 0, 0, 0, 0]]), "nan in row 1, column 1"),
    ],
)
def test_a_bad_chunk_is_refused(rows, says):
    with pytest.raises(BadChunk, match=says):
        ActionChunk(stamp_ns=0, sequence=0, period_s=0.1, convention="calvin", rows=rows)


def test_a_chunk_without_a_period_is_refused():
    with pytest.raises(BadChunk, match="period"):
        ActionChunk(stamp_ns=0, sequence=0, period_s=0.0, convention="calvin", rows=np.zeros((1, 7)))


def test_values_cannot_be_changed_afterwards():
    chunk = ActionChunk(stamp_ns=0, sequence=0, period_s=0.1, convention="calvin", rows=np.zeros((1, 7)))
    with pytest.raises(ValueError, match="read-only"):
        chunk.rows[0, 0] = 1.0
    mine = np.zeros((4, 6, 3), np.uint8)
    Observation(stamp_ns=0, static_image=mine, wrist_image=mine, state=STATE)
    mine[0] = 1  # the caller's own array stays the caller's
