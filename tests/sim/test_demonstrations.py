"""Which seeds a recording keeps, how it goes on after an interruption, and what it refuses to touch."""

import json
from dataclasses import replace

import numpy as np
import pytest

from worldagen.bags.types import Topic
from worldagen.bags.writer import BagWriter
from worldagen.errors import RecordingError, UnknownName
from worldagen_sim.demonstrations import (
    EPISODE,
    EPISODES,
    SEEDS_PER_PLACE,
    UNFINISHED,
    Ended,
    Ledger,
    Request,
    check_request,
)  # fmt: skip

REQUEST = Request("playtable", "1", ("A", "D+light:0.5"), ("open_drawer", "stack_block"), 3, 10, 360, 6, 1 / 30)
TEXT = Topic("/instruction", "std_msgs/msg/String", "string data\n", "", ())


@pytest.fixture
def ledger(tmp_path, playtable):
    return Ledger(tmp_path / "out", REQUEST, playtable)


def record(ledger, attempt, kept=True, steps=40):
    """What a recorder does for an attempt, in small."""
    folder = ledger.workplace(attempt)
    with BagWriter(folder, {EPISODE: {"steps": str(steps)}}) as bag:
        bag.add_topic(TEXT)
    done = Ended(attempt, kept, steps, 1000 if kept else 0)
    ledger.settle(done)


def fails(attempt):
    return attempt.task == "stack_block" and attempt.seed % SEEDS_PER_PLACE in (11, 13)


def record_all(ledger, most=10_000):
    for _ in range(20):
        for attempt in list(ledger.missing()):
            if most == 0:
                return
            record(ledger, attempt, kept=not fails(attempt))
            most -= 1


def kept(ledger):
    return sorted(str(bag.relative_to(ledger.folder / EPISODES)) for bag in (ledger.folder / EPISODES).glob("*/*/*"))


def test_a_failed_seed_is_noted_and_the_next_one_taken(ledger):
    record_all(ledger)
    assert (ledger.kept, ledger.failed) == (12, 4)
    assert [name for name in kept(ledger) if "A/stack" in name] == [f"A/stack_block/{seed:06d}" for seed in (2010, 2012, 2014)]
    assert not list(ledger.missing())


def test_no_two_places_share_a_seed_so_no_two_episodes_share_a_world(ledger):
    record_all(ledger)
    seeds = [path.rpartition("/")[2] for path in kept(ledger)]
    assert len(set(seeds)) == len(seeds) == 12


def test_an_interrupted_recording_ends_with_the_same_episodes(ledger, tmp_path, playtable):
    record_all(ledger)
    for stop in (1, 5, 9):
        other = Ledger(tmp_path / f"interrupted{stop}", REQUEST, playtable)
        record_all(other, most=stop)
        record_all(Ledger(other.folder, REQUEST, playtable))
        assert kept(other) == kept(ledger)


def test_what_was_unfinished_is_cleared_and_what_was_kept_but_not_noted_is_found(ledger, playtable):
    first, second = list(ledger.missing())[:2]
    record(ledger, first, steps=33)
    attempts = ledger.folder / "attempts.jsonl"
    attempts.write_text(attempts.read_text()[:-20])  # killed while it was noted
    ledger.workplace(second).mkdir(parents=True)
    again = Ledger(ledger.folder, REQUEST, playtable)
    assert again.kept == 1 and again.size_bytes > 0
    assert first not in list(again.missing()) and second in list(again.missing())
    assert not (ledger.folder / UNFINISHED).exists()


def test_every_attempt_has_a_time_of_its_own_and_they_come_in_order(ledger):
    times = [attempt.begin_ns for attempt in ledger.missing()]
    assert times == sorted(set(times))
    longest_ns = (REQUEST.max_steps + REQUEST.tail_steps) * REQUEST.period_s * 1e9
    assert np.diff(times).min() > longest_ns


def test_the_words_are_drawn_from_the_training_phrasings(ledger, playtable):
    phrasings = next(task.phrasings for task in playtable.tasks if task.name == "open_drawer")
    words = {ledger.attempt("A", "open_drawer", seed).instruction for seed in range(60)}
    assert words == set(phrasings)


def test_a_scene_with_a_colon_makes_a_folder_without_one(ledger):
    assert str(ledger.attempt("D+light:0.5", "open_drawer", 7).folder) == "D+light-0.5/open_drawer/000007"


def test_another_request_is_refused_with_what_differs(ledger, playtable):
    with pytest.raises(RecordingError, match="holds another recording: first_seed 10 instead of 11"):
        Ledger(ledger.folder, replace(REQUEST, first_seed=11), playtable)


def test_a_folder_with_anything_else_in_it_is_refused_and_left_alone(tmp_path, playtable):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RecordingError, match="is not empty and holds no recording"):
        Ledger(tmp_path, REQUEST, playtable)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_request_is_kept_with_the_recording(ledger):
    assert json.loads((ledger.folder / "recording.json").read_text())["scenes"] == ["A", "D+light:0.5"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tasks": ("fly",)}, UnknownName, "unknown playtable task 'fly'"),
        ({"scenes": ("Q",)}, UnknownName, "unknown playtable scene 'Q'"),
        ({"episodes": 0}, RecordingError, "0 episodes from seed 10"),
        ({"picture_every": 0}, RecordingError, "pictures of every 0 control steps"),
        ({"scenes": tuple("A" * 2000)}, RecordingError, "too many for one recording"),
    ],
)
def test_a_request_that_cannot_be_is_refused(playtable, change, error, words):
    bad = replace(REQUEST, **change)
    if len(bad.scenes) > 100:  # every scene is built once to see that it can be
        bad = replace(bad, scenes=("A",) * 2, max_steps=10_000_000)
    with pytest.raises(error, match=words):
        check_request(bad, playtable)
