"""LIBERO's files as episodes, on small files written here from the public description of the data set."""

import json

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from worldagen.conventions import encode_actions
from worldagen.data.episodes import open_source
from worldagen.data.libero import CONVENTION, LiberoSource
from worldagen.errors import BadEpisode, DataError

STEPS = 4
TASK = "KITCHEN_SCENE3_turn_on_the_stove_demo"


def demonstration(number: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(number)
    picture = np.zeros((STEPS, 128, 128, 3), np.uint8)
    picture[:, -1] = np.arange(STEPS)[:, None, None] + 1  # the last stored row is the top of what a person would see
    return {
        "actions": np.column_stack([draw.uniform(-1, 1, (STEPS, 6)), [-1, -1, 1, 1]]),
        "robot_states": np.zeros((STEPS, 9)),
        "obs/agentview_rgb": picture,
        "obs/eye_in_hand_rgb": picture + 10,
        "obs/ee_pos": draw.normal(size=(STEPS, 3)),
        "obs/ee_ori": Rotation.from_euler("xyz", draw.uniform(-1, 1, (STEPS, 3))).as_rotvec(),
        "obs/gripper_states": np.zeros((STEPS, 2)),
        "obs/joint_states": np.zeros((STEPS, 7)),
    }


def write(file, demonstrations: dict[int, dict[str, np.ndarray]], words: object = "turn on the stove") -> None:
    with h5py.File(file, "w") as opened:
        data = opened.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": words} if words is not None else {})
        for number, arrays in demonstrations.items():
            for key, values in arrays.items():
                data[f"demo_{number}/{key}"] = values


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / f"{TASK}.hdf5", {number: demonstration(number) for number in (0, 2, 10)})
    return tmp_path


def test_each_demonstration_is_an_episode_in_the_order_of_their_numbers(folder):
    source = open_source(f"libero:{folder}")
    assert source.episodes() == [f"{TASK}/demo_{number}" for number in (0, 2, 10)]
    assert LiberoSource(folder / f"{TASK}.hdf5").episodes() == source.episodes()
    episode = source.read(f"{TASK}/demo_2")
    assert episode.instruction == "turn on the stove" and episode.convention.name == "libero"


def test_an_instant_is_what_was_seen_before_the_action_although_files_pair_it_with_the_one_before(folder):
    stored, episode = demonstration(0), LiberoSource(folder).read(f"{TASK}/demo_0")
    assert len(episode) == STEPS - 1
    assert np.allclose(episode.states[:, :3], stored["obs/ee_pos"][:-1])
    assert np.allclose(encode_actions(CONVENTION, episode.actions, np.zeros(3)), stored["actions"][1:])
    assert episode.actions[:, 6].tolist() == [1, 0, 0]  # their -1 opens
    assert episode.states[:, 6].tolist() == [1, 1, 0]  # what was commanded last


def test_orientations_become_euler_angles(folder):
    stored, episode = demonstration(2), LiberoSource(folder).read(f"{TASK}/demo_2")
    assert np.allclose(Rotation.from_euler("xyz", episode.states[:, 3:6]).as_rotvec(), stored["obs/ee_ori"][:-1])


def test_pictures_are_upright(folder):
    pairs = list(LiberoSource(folder).read(f"{TASK}/demo_0").pictures())
    assert len(pairs) == STEPS - 1
    for index, (static, wrist) in enumerate(pairs):
        assert (static[0] == index + 1).all() and (static[1:] == 0).all()
        assert (wrist[0] == index + 11).all() and (wrist[-1] == 10).all()


def test_words_in_pieces_are_joined(tmp_path):
    write(tmp_path / "a.hdf5", {0: demonstration(0)}, ["turn", "on", "the", "stove"])
    assert LiberoSource(tmp_path).read("a/demo_0").instruction == "turn on the stove"


@pytest.mark.parametrize("words", [None, "", " "])
def test_missing_words_are_refused_by_name(tmp_path, words):
    write(tmp_path / "a.hdf5", {0: demonstration(0)}, words)
    with pytest.raises(BadEpisode, match="a/demo_0: no words"):
        LiberoSource(tmp_path).read("a/demo_0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"obs/ee_pos": np.full((STEPS, 3), np.nan)}, "obs/ee_pos hold nan in row 0, column 0"),
        ({"actions": np.zeros((STEPS, 8))}, r"actions have shape \(4, 8\); expected rows of 7"),
        ({"actions": np.zeros((STEPS - 1, 7))}, "lengths differ: .*actions 3"),
        ({key: values[:0] for key, values in demonstration(0).items()}, "0 stored steps; expected at least 2"),
        ({key: values[:1] for key, values in demonstration(0).items()}, "1 stored steps; expected at least 2"),
    ],
)
def test_bad_numbers_are_refused_by_name(tmp_path, changes, reason):
    write(tmp_path / "a.hdf5", {0: demonstration(0) | changes, 1: demonstration(1)})
    with pytest.raises(BadEpisode, match=f"^a/demo_0: {reason}"):
        LiberoSource(tmp_path).read("a/demo_0")
    assert len(LiberoSource(tmp_path).read("a/demo_1")) == STEPS - 1


def test_missing_numbers_are_refused_by_name(tmp_path):
    arrays = demonstration(0)
    del arrays["obs/ee_ori"]
    write(tmp_path / "a.hdf5", {0: arrays})
    with pytest.raises(BadEpisode, match="a/demo_0: no obs/ee_ori"):
        LiberoSource(tmp_path).read("a/demo_0")


def test_cameras_of_other_names_are_refused_with_those_there_are(tmp_path):
    arrays = demonstration(0)
    arrays["obs/frontview_rgb"] = arrays.pop("obs/agentview_rgb")
    write(tmp_path / "a.hdf5", {0: arrays})
    with pytest.raises(DataError, match=r"no obs/agentview_rgb in a/demo_0; there are: .*frontview_rgb") as refusal:
        LiberoSource(tmp_path).read("a/demo_0")
    assert not isinstance(refusal.value, BadEpisode)


@pytest.mark.parametrize("damage", ["cut off", "text", "no data", "no demonstration"])
def test_a_damaged_file_is_one_episode_that_is_refused_by_name(folder, damage):
    file = folder / "bad.hdf5"
    write(file, {0: demonstration(0)} if damage == "cut off" else {})
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:5000])
    elif damage == "text":
        file.write_text("no HDF5")
    elif damage == "no data":
        with h5py.File(file, "w") as opened:
            opened["other"] = 1
    source = LiberoSource(folder)
    assert source.episodes()[-1] == "bad" and len(source.episodes()) == 4
    with pytest.raises(BadEpisode, match=r"^bad: .*bad.hdf5"):
        source.read("bad")


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no \.hdf5 file"):
        LiberoSource(tmp_path)


def test_the_fingerprint_follows_the_files(folder):
    before = LiberoSource(folder).fingerprint()
    assert LiberoSource(folder).fingerprint() == before
    write(folder / "more.hdf5", {0: demonstration(0)})
    assert LiberoSource(folder).fingerprint() != before
