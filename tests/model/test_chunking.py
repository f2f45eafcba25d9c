"""Rows of chunks are played once each, in step with time, whatever order chunks come in."""

import numpy as np
import pytest

from worldagen.chunking import ChunkPlayer
from worldagen.errors import BadChunk
from worldagen.types import ActionChunk

MS = 1_000_000


def chunk(sequence: int, stamp_ms: int, rows: int = 5, value: float = 1.0) -> ActionChunk:
    motion = np.full((rows, 7), value)
    motion[:, 0] = np.arange(rows) + 100 * sequence  # says which row of which chunk it is
    return ActionChunk(stamp_ns=stamp_ms * MS, sequence=sequence, period_s=0.1, convention="calvin", rows=motion)


def play(player: ChunkPlayer, *times_ms: int) -> list[float]:
    rows = [player.next_row(time_ms * MS) for time_ms in times_ms]
    return [row.row[0] if row else None for row in rows]


def test_a_chunk_is_played_row_by_row_and_then_there_is_none():
    player = ChunkPlayer()
    player.offer(chunk(0, 0, rows=2))
    assert play(player, 0, 100, 200) == [0, 1, None]


def test_rows_that_another_chunk_played_since_the_observation_are_dropped():
    player = ChunkPlayer()
    player.offer(chunk(0, 0))
    assert play(player, 100, 200) == [0, 1]
    player.offer(chunk(1, 150))  # one row was played since its observation
    assert play(player, 300, 400) == [101, 102]


def test_time_in_which_the_arm_held_still_consumes_nothing():
    player = ChunkPlayer()
    player.offer(chunk(0, 0, rows=1))
    assert play(player, 0, 100, 200, 300) == [0, None, None, None]
    player.offer(chunk(1, 100))
    assert play(player, 400) == [100]


def test_a_chunk_that_was_overtaken_whole_is_refused_and_the_plan_stays():
    player = ChunkPlayer()
    player.offer(chunk(0, 0, rows=10))
    play(player, 100, 200, 300)
    with pytest.raises(BadChunk, match="came too late: 3 rows"):
        player.offer(chunk(1, 50, rows=3))
    assert play(player, 400) == [3]


def test_a_chunk_that_answers_an_older_observation_is_refused():
    player = ChunkPlayer()
    player.offer(chunk(5, 1000))
    with pytest.raises(BadChunk, match="older observation"):
        player.offer(chunk(4, 900))


def test_a_seam_is_faded_in_and_the_gripper_is_not_mixed():
    player = ChunkPlayer(blend_rows=3)
    player.offer(chunk(0, 0, rows=5, value=0.0))
    player.next_row(0)
    player.offer(chunk(1, 0 + 50, rows=4, value=1.0))
    shares = [player.next_row(time_ms * MS).row for time_ms in (100, 200, 300, 400)]
    assert [row[1] for row in shares] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert [row[6] for row in shares] == [1.0, 1.0, 1.0, 1.0]


def test_a_cleared_player_has_no_plan_and_no_memory():
    player = ChunkPlayer()
    player.offer(chunk(3, 500))
    play(player, 500)
    player.clear()
    assert play(player, 600) == [None]
    player.offer(chunk(0, 0))
    assert play(player, 700) == [0]
