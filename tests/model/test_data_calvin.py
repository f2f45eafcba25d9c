"""CALVIN's files as episodes, on small splits written here from the public description of the data set."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worldagen.conventions import encode_actions, encode_state
from worldagen.data.calvin import CONVENTION, CalvinSource
from worldagen.data.episodes import open_source
from worldagen.errors import BadEpisode, DataError

FIRST = 358482
NAMES = [f"00000_{FIRST:07d}_{FIRST + 4:07d}", f"00001_{FIRST + 2:07d}_{FIRST + 3:07d}"]
WORDS = {"language": {"ann": ["push the blue block", "open the drawer"], "task": ["a", "b"]}}
ENDS = [[FIRST, FIRST + 4], [FIRST + 2, FIRST + 3]]


def line_in_the_docs() -> str:
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text("utf-8")
    return next(line for line in page.splitlines() if line.startswith("python3 -c"))


def frame(index: int) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(index)
    pose = [0.1, -0.2, 0.5 + index * 1e-3, 3.1, 0.05, 1.5]
    return {
        "rgb_static": np.full((200, 200, 3), index, np.uint8),
        "rgb_gripper": np.full((84, 84, 3), index + 1, np.uint8),
        "robot_obs": np.array([*pose, 0.08, *range(7), -1.0 if index % 2 else 1.0]),
        "rel_actions": np.append(numbers.uniform(-1, 1, 6), 1.0 if index % 2 else -1.0),
        "actions": np.zeros(7),
        "scene_obs": np.zeros(24),
    }


def write_frame(split, index: int, save: Any = np.savez, **changes) -> None:
    save(split / f"episode_{FIRST + index:07d}.npz", **(frame(index) | changes))


@pytest.fixture
def split(tmp_path):
    folder = tmp_path / "training"
    (folder / "lang_annotations").mkdir(parents=True)
    write_words(folder, WORDS | {"info": {"indx": ENDS}})
    for index in range(5):
        write_frame(folder, index)
    return folder


def write_words(split, tree: object) -> None:
    (split / "lang_annotations" / "auto_lang_ann.json").write_text(json.dumps(tree))


def test_a_segment_with_words_is_an_episode_both_ends_included(split):
    source = open_source(f"calvin:{split}")
    assert source.spec == f"calvin:{split}" and source.episodes() == NAMES
    first, second = map(source.read, NAMES)
    assert (len(first), len(second)) == (5, 2)
    assert (first.instruction, second.instruction) == ("push the blue block", "open the drawer")
    assert first.convention.name == "calvin" and first.targets is first.actions


def test_states_and_actions_become_theirs_again_through_the_convention(split):
    episode = CalvinSource(split).read(NAMES[0])
    for index in range(5):
        theirs = frame(index)
        assert np.allclose(encode_state(CONVENTION, episode.states[index]), theirs["robot_obs"][[0, 1, 2, 3, 4, 5, 14]])
        back = encode_actions(CONVENTION, episode.actions[index][None], episode.states[index][3:6])[0]
        assert np.allclose(back, theirs["rel_actions"])
    assert episode.actions[:, 6].tolist() == [0, 1, 0, 1, 0]
    assert np.abs(episode.actions[:, :3]).max() <= 0.02


def test_pictures_come_in_order(split):
    pairs = list(CalvinSource(split).read(NAMES[0]).pictures())
    assert [(static[0, 0, 0], wrist[0, 0, 0]) for static, wrist in pairs] == [(index, index + 1) for index in range(5)]
    assert pairs[0][0].shape == (200, 200, 3) and pairs[0][1].shape == (84, 84, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"robot_obs": np.full(15, np.nan)}, "robot_obs hold nan in row 1, column 0"),
        ({"rel_actions": np.zeros(6)}, "rel_actions are no table of numbers"),
        ({"rel_actions": np.full(7, 3.0)}, "the gripper's number is 3 in row 1; expected -1 to 1"),
        ({"rel_actions": np.array([{"a": 1}], dtype=object)}, "cannot be read"),
    ],
)
def test_bad_numbers_are_refused_by_name(split, changes, reason):
    write_frame(split, 1, **changes)
    with pytest.raises(BadEpisode, match=f"^{NAMES[0]}: .*{reason}"):
        CalvinSource(split).read(NAMES[0])
    assert len(CalvinSource(split).read(NAMES[1])) == 2


@pytest.mark.parametrize("damage", ["cut off", "gone", "text", "no key"])
def test_a_damaged_frame_is_refused_by_name(split, damage):
    file = split / f"episode_{FIRST + 4:07d}.npz"
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "gone":
        file.unlink()
    elif damage == "text":
        file.write_text("no frame")
    else:
        np.savez(file, robot_obs=np.zeros(15))
    with pytest.raises(BadEpisode, match=f"^{NAMES[0]}: {file.name}"):
        CalvinSource(split).read(NAMES[0])


def test_pictures_of_another_kind_are_refused_when_they_are_opened(split):
    write_frame(split, 3, rgb_gripper=np.zeros((84, 84), np.uint8))
    pictures = CalvinSource(split).read(NAMES[1]).pictures()
    next(pictures)
    with pytest.raises(BadEpisode, match=rf"{NAMES[1]}: frame {FIRST + 3}: rgb_gripper has shape \(84, 84\)"):
        next(pictures)


def test_missing_words_and_empty_segments_are_refused_by_name(split):
    write_words(split, {"language": {"ann": [" ", "go"]}, "info": {"indx": [ENDS[0], [FIRST + 1, FIRST]]}})
    source = CalvinSource(split)
    for name, reason in zip(source.episodes(), ("no words", "no instant"), strict=True):
        with pytest.raises(BadEpisode, match=f"{name}: {reason}"):
            source.read(name)


@pytest.mark.parametrize(
    "tree", [[], {"language": {}}, WORDS | {"info": {"indx": ENDS[:1]}}, WORDS | {"info": {"indx": [1, 2]}}]
)
def test_words_of_another_form_are_refused(split, tree):
    write_words(split, tree)
    with pytest.raises(DataError, match=r"auto_lang_ann.json: cannot be used"):
        CalvinSource(split)


def test_without_any_segment_there_is_nothing_to_read(split):
    write_words(split, {"language": {"ann": []}, "info": {"indx": []}})
    with pytest.raises(DataError, match="describes no segment"):
        CalvinSource(split).episodes()


def test_the_whole_data_set_is_no_split(split):
    with pytest.raises(DataError, match=r"give one of them, e\.g\. calvin:.*/training"):
        CalvinSource(split.parent)
    with pytest.raises(DataError, match="has no lang_annotations"):
        CalvinSource(split / "lang_annotations")


def test_pickled_words_are_never_opened_and_the_line_that_is_told_converts_them(split):
    folder = split / "lang_annotations"
    (folder / "auto_lang_ann.json").unlink()
    theirs = {
        "language": {"ann": WORDS["language"]["ann"], "task": ["a", "b"]},
        "info": {"indx": [tuple(ends) for ends in ENDS]},
    }
    np.save(folder / "auto_lang_ann.npy", np.array(theirs, dtype=object))
    with pytest.raises(DataError, match="this suite never opens one") as refusal:
        CalvinSource(split)
    assert "docs/datasets.md" in str(refusal.value)
    subprocess.run(line_in_the_docs(), shell=True, cwd=folder, check=True)
    assert CalvinSource(split).read(NAMES[1]).instruction == "open the drawer"


def test_the_fingerprint_follows_frames_and_words(split):
    before = CalvinSource(split).fingerprint()
    assert CalvinSource(split).fingerprint() == before
    write_frame(split, 0, np.savez_compressed)
    assert CalvinSource(split).fingerprint() != before
