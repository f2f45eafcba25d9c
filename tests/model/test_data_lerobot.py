"""LeRobot data sets: what is written comes back, LeRobot's own package reads it, and what does not fit is refused."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial.transform import Rotation

from worldagen.cli import main
from worldagen.conventions import encode_actions, encode_state, find_convention
from worldagen.data import episodes as sources
from worldagen.data.episodes import Episode, open_source
from worldagen.data.lerobot import LeRobotSource
from worldagen.data.lerobot_stats import PictureCounts, describe_numbers
from worldagen.data.lerobot_writer import LeRobotWriter, Limits, export_lerobot
from worldagen.errors import BadEpisode, BagError, DataError

CALVIN, LIBERO = find_convention("calvin"), find_convention("libero")
TOLERANCE = 18  # of 255; H.264 with halved colours, of smooth pictures. From one instant to the next, green changes by 25


def picture(height: int, width: int, instant: int, base: int) -> np.ndarray:
    """Smooth, another at every instant, and with an up and a left."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = base + 100 * rows / height, np.full((height, width), 20 + 25 * instant)
    return np.stack([red, green, 50 + 100 * columns / width], axis=-1).astype(np.uint8)


def episode(name="a", length=5, base=30, words="lift the red block", convention=CALVIN, size=(64, 80), **changes) -> Episode:
    height, width = size
    draw = np.random.default_rng(base)
    states = np.column_stack([draw.normal(size=(length, 6)), draw.integers(0, 2, length)])
    rows = np.column_stack([draw.normal(size=(length, 6)) * 0.01, draw.integers(0, 2, length)])
    values = {
        "states": states,
        "actions": rows,
        "targets": rows * [1, 1, 1, 0.5, 0.5, 0.5, 1],
        "pictures": lambda: (
            (picture(height, width, instant, base), picture(64, 64, instant, base + 9)) for instant in range(length)
        ),
    }
    return Episode(name=name, instruction=words, convention=convention, **(values | changes))


class Fake:
    """Episodes from memory, as a source."""

    made: tuple[Episode | str, ...] = ()

    def __init__(self, path) -> None:
        self.spec = f"bag:{path}"

    def fingerprint(self) -> str:
        return ""

    def episodes(self) -> list[str]:
        return [item if isinstance(item, str) else item.name for item in self.made]

    def read(self, name: str) -> Episode:
        found = self.made[self.episodes().index(name)]
        if isinstance(found, str):
            raise BadEpisode(f"{name}: no joint states")
        return found


def write(folder, *made: Episode, limits: Limits | None = None):
    with LeRobotWriter(folder, limits) as writer:
        for item in made:
            writer.add(item)
        writer.finish()
    return folder


@pytest.fixture
def made() -> list[Episode]:
    return [episode("a"), episode("b", 7, 60, "open the drawer"), episode("c", 3, 90)]


@pytest.fixture
def folder(tmp_path, made):
    return write(tmp_path / "out", *made)


def change_json(file, **changes) -> None:
    tree = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(tree | changes))


def change_column(file, name: str, values: list) -> None:
    table = pq.read_table(file)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, name, pa.array(values, table.schema.field(name).type)), file)


def test_what_is_written_comes_back(folder, made):
    source = open_source(f"lerobot:{folder}")
    assert source.episodes() == ["000000", "000001", "000002"]
    for name, ours in zip(source.episodes(), made, strict=True):
        back = source.read(name)
        assert back.instruction == ours.instruction and back.convention == CALVIN
        for numbers in ("states", "actions", "targets"):
            assert np.array_equal(getattr(back, numbers), getattr(ours, numbers).astype(np.float32))


def test_pictures_come_back_upright_and_each_at_its_instant(folder, made):
    source = LeRobotSource(folder)
    for name, ours in zip(source.episodes(), made, strict=True):
        pairs = list(source.read(name).pictures())
        assert len(pairs) == len(ours)
        for got, wanted in zip(pairs, ours.pictures(), strict=True):
            for one, other in zip(got, wanted, strict=True):
                assert one.shape == other.shape and np.abs(one.astype(int) - other).max() <= TOLERANCE


def test_files_are_begun_anew_when_they_are_full(tmp_path, made):
    folder = write(tmp_path / "out", *made, limits=Limits(data_mib=0, video_mib=0))
    assert len(list(folder.glob("data/chunk-000/*.parquet"))) == len(list(folder.glob("videos/*static/chunk-000/*.mp4"))) == 3
    source = LeRobotSource(folder)
    for name, ours in zip(source.episodes(), made, strict=True):
        last, (static, _) = list(source.read(name).pictures())[-1], list(ours.pictures())[-1]
        assert np.abs(last[0].astype(int) - static).max() <= TOLERANCE


def test_pictures_of_odd_sizes_can_be_written(tmp_path):
    folder = write(tmp_path / "out", episode(size=(33, 35)))
    assert next(iter(LeRobotSource(folder).read("000000").pictures()))[0].shape == (33, 35, 3)


def test_statistics_are_those_of_all_frames_and_pixels(folder, made):
    stats = json.loads((folder / "meta/stats.json").read_text())
    states = np.concatenate([item.states for item in made]).astype(np.float32)
    assert stats["observation.state"]["count"] == [15]
    for name, value in (("min", states.min(0)), ("max", states.max(0)), ("mean", states.mean(0)), ("std", states.std(0))):
        assert np.allclose(stats["observation.state"][name], value, atol=1e-6)
    assert np.allclose(stats["action"]["q90"], np.quantile(np.concatenate([item.actions for item in made]), 0.9, axis=0))
    pixels = np.concatenate([static.reshape(-1, 3) for item in made for static, _ in item.pictures()]) / 255
    found = {name: np.array(value) for name, value in stats["observation.images.static"].items()}
    assert found["count"].tolist() == [15] and found["mean"].shape == (3, 1, 1)
    for name, value in (("min", pixels.min(0)), ("max", pixels.max(0)), ("mean", pixels.mean(0)), ("std", pixels.std(0))):
        assert np.allclose(found[name].ravel(), value)
    assert np.allclose(found["q50"].ravel(), np.quantile(pixels, 0.5, axis=0, method="inverted_cdf"))
    assert set(stats) == set(json.loads((folder / "meta/info.json").read_text())["features"])


def test_statistics_of_a_single_frame_and_colour_are_finite():
    counts = PictureCounts()
    counts.add(np.full((2, 2, 3), 255, np.uint8))
    assert all(np.isfinite(value).all() for value in counts.describe().values())
    assert counts.describe()["q01"].ravel().tolist() == [1, 1, 1]
    assert describe_numbers(np.ones((1, 7)))["std"].tolist() == [0] * 7


def test_lerobot_itself_reads_it(folder, made):
    module = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="needs LeRobot: pip install lerobot")
    data = module.LeRobotDataset("worldagen/test", root=folder, video_backend="pyav")
    assert (data.num_episodes, len(data), data.fps) == (3, 15, 30)
    place = 0
    for ours in made:
        for instant, (static, wrist) in enumerate(ours.pictures()):
            item = data[place]
            assert item["task"] == ours.instruction and item["episode_index"] == made.index(ours)
            assert np.array_equal(item["action"].numpy(), ours.actions[instant].astype(np.float32))
            assert np.array_equal(item["observation.state"].numpy(), ours.states[instant].astype(np.float32))
            for key, wanted in (("static", static), ("wrist", wrist)):
                shown = item[f"observation.images.{key}"].numpy().transpose(1, 2, 0) * 255
                assert np.abs(shown - wanted).max() <= TOLERANCE
            place += 1
    assert data.meta.stats["action"]["mean"].shape == (7,)
    assert data.meta.stats["observation.images.static"]["mean"].shape == (3, 1, 1)


def test_what_lerobot_itself_writes_is_read(tmp_path, made):
    module = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="needs LeRobot: pip install lerobot")
    features = json.loads((write(tmp_path / "out", *made) / "meta/info.json").read_text())["features"]
    ours = {key: what | {"shape": tuple(what["shape"])} for key, what in features.items() if what["names"] and key != "target"}
    data = module.LeRobotDataset.create("worldagen/test", 30, ours, root=tmp_path / "theirs", use_videos=True)
    for item in made:
        for instant, (static, wrist) in enumerate(item.pictures()):
            numbers = {"observation.state": item.states[instant], "action": item.actions[instant]}
            frame = {key: values.astype(np.float32) for key, values in numbers.items()}
            data.add_frame(
                frame | {"observation.images.static": static, "observation.images.wrist": wrist, "task": item.instruction}
            )
        data.save_episode()
    data.finalize()
    change_json(tmp_path / "theirs/meta/worldagen_keys.json", convention="calvin", units="SI")
    source = LeRobotSource(tmp_path / "theirs")
    for name, item in zip(source.episodes(), made, strict=True):
        back = source.read(name)
        assert back.instruction == item.instruction and np.array_equal(back.actions, item.actions.astype(np.float32))
        for (static, _), (wanted, _) in zip(back.pictures(), item.pictures(), strict=True):
            assert np.abs(static[..., 1].astype(int) - wanted[..., 1]).max() <= TOLERANCE


def test_others_data_sets_are_read_by_the_keys_their_user_names(tmp_path):
    draw = np.random.default_rng(0)
    theirs = np.column_stack([draw.uniform(-1, 1, (4, 6)), [-1, -1, 1, 1]])
    state = np.column_stack([draw.uniform(-1, 1, (4, 6)), [-1, -1, -1, 1]])
    folder = write(tmp_path / "out", episode(length=4, convention=LIBERO, states=state, actions=theirs, targets=theirs))
    info = json.loads((folder / "meta/info.json").read_text())
    del info["worldagen"]
    (folder / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(
        DataError, match=r"does not say how its numbers .*\n.*\nits cameras are: observation.images.static \(video\)"
    ):
        LeRobotSource(folder)
    change_json(folder / "meta/worldagen_keys.json", convention="libero", units="native")
    back = LeRobotSource(folder).read("000000")
    assert np.allclose(encode_actions(LIBERO, back.actions, np.zeros(3)), theirs.astype(np.float32), atol=1e-6)
    assert np.allclose([encode_state(LIBERO, row) for row in back.states], state, atol=1e-6)
    assert back.actions[:, 6].tolist() == [1, 1, 0, 0] and back.targets is back.actions
    assert np.allclose(Rotation.from_rotvec(back.actions[0, 3:6]).magnitude(), np.linalg.norm(theirs[0, 3:6]) * 0.5, atol=1e-6)


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"wrist": "observation.images.hand"}, r"'observation.images.hand' is none of its cameras.*static \(video\)"),
        ({"state": "observation.qpos"}, r"'observation.qpos' does not exist; expected 7 numbers.*observation.state \[7\]"),
        ({"action": "timestamp"}, r"'timestamp' has shape \[1\]"),
        ({"units": "inches"}, "units is 'inches'; allowed: one of: SI, native"),
        ({"camera": "x"}, "camera"),
        ({"convention": "libero"}, "has 30 frames a second; convention 'libero' has 20"),
    ],
)
def test_keys_that_do_not_fit_are_refused_with_those_there_are(folder, keys, reason):
    change_json(folder / "meta/worldagen_keys.json", **({"convention": "calvin", "units": "SI"} | keys))
    with pytest.raises(DataError, match=reason):
        LeRobotSource(folder)


def test_other_versions_are_refused_by_name(folder, tmp_path):
    change_json(folder / "meta/info.json", codebase_version="v2.1")
    with pytest.raises(DataError, match=r"of version v2\.1; expected v3\.0.*convert_dataset_v21_to_v30"):
        LeRobotSource(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"info\.json: cannot be read"):
        LeRobotSource(tmp_path / "empty")


@pytest.mark.parametrize(
    "damage", ["numbers cut off", "video gone", "a frame twice", "NaN", "two tasks", "a task nobody names"]
)
def test_a_damaged_episode_is_refused_by_name(tmp_path, made, damage):
    folder = write(tmp_path / "out", *made, limits=Limits(data_mib=0, video_mib=0))
    data, video = (folder / where / "chunk-000" for where in ("data", "videos/observation.images.wrist"))
    if damage == "numbers cut off":
        (data / "file-001.parquet").write_bytes((data / "file-001.parquet").read_bytes()[:500])
    elif damage == "video gone":
        (video / "file-001.mp4").unlink()
    elif damage == "a frame twice":
        change_column(data / "file-001.parquet", "frame_index", [0, 1, 1, 3, 4, 5, 6])
    elif damage == "NaN":
        change_column(data / "file-001.parquet", "observation.state", [[float("nan")] * 7] * 7)
    else:
        change_column(data / "file-001.parquet", "task_index", [1] * 6 + [0] if damage == "two tasks" else [5] * 7)
    source = LeRobotSource(folder)
    with pytest.raises(BadEpisode, match=r"^000001: "):
        source.read("000001")
    assert len(source.read("000000")) == 5 and len(source.read("000002")) == 3


@pytest.mark.parametrize("damage", ["cut off", "shorter"])
def test_a_damaged_video_is_refused_by_name_when_it_is_opened(tmp_path, made, damage):
    folder = write(tmp_path / "out", *made, limits=Limits(data_mib=0, video_mib=0))
    video = folder / "videos/observation.images.static/chunk-000"
    if damage == "cut off":
        (video / "file-001.mp4").write_bytes((video / "file-001.mp4").read_bytes()[:300])
    else:
        (video / "file-000.mp4").replace(video / "file-001.mp4")
    with pytest.raises(BadEpisode, match=r"^000001: .*file-001\.mp4"):
        list(LeRobotSource(folder).read("000001").pictures())


def test_a_bad_episode_leaves_nothing_of_itself(tmp_path, made):
    def breaks():
        yield from list(made[1].pictures())[:3]
        raise BagError("damaged chunk")

    with LeRobotWriter(tmp_path / "out") as writer:
        writer.add(made[0])
        for bad, reason in (
            (episode("x", pictures=breaks), "x: damaged chunk"),
            (episode("x", pictures=lambda: iter(list(made[0].pictures())[:2])), "2 pairs of pictures for 5 instants"),
            (episode("x", convention=LIBERO), "is 'libero' at 20 Hz .*; this data set is 'calvin' at 30 Hz"),
            (episode("x", size=(24, 64)), "pictures of 64x24 and 64x64; this data set is .* of 80x64"),
        ):
            with pytest.raises(BadEpisode, match=reason):
                writer.add(bad)
        writer.add(made[2])
        writer.finish()
    rows = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet")
    assert rows["videos/observation.images.static/from_timestamp"].to_pylist() == pytest.approx([0, 5 / 30])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path, made):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(DataError, match=r"not empty \(there is notes\)"):
        write(tmp_path, *made)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    (tmp_path / "empty").mkdir()
    assert len(LeRobotSource(write(tmp_path / "empty", *made)).episodes()) == 3


def test_an_export_that_is_broken_off_leaves_nothing(tmp_path, made):
    with pytest.raises(KeyboardInterrupt), LeRobotWriter(tmp_path / "out") as writer:
        writer.add(made[0])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def bags(monkeypatch, tmp_path, made):
    """`bag:` sources that give these episodes."""
    monkeypatch.setitem(sources.SOURCES, "bag", f"{__name__}:Fake")
    monkeypatch.setattr(Fake, "made", (made[0], "torn", made[1]))
    (tmp_path / "bags").mkdir()
    return tmp_path / "bags"


def test_the_command_skips_bad_episodes_by_name_and_counts_them(bags, tmp_path, capsys):
    assert main(["bag", "export", str(tmp_path / "out"), "--format", "lerobot", str(bags), str(bags)]) == 0
    told = capsys.readouterr()
    assert told.out == f"wrote {tmp_path / 'out'}: 4 episodes, 24 frames; 2 bad episodes skipped\n"
    assert told.err.splitlines() == ["skipped torn: torn: no joint states"] * 2
    assert len(LeRobotSource(tmp_path / "out").episodes()) == 4
    assert main(["bag", "export", str(tmp_path / "json"), str(bags), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["episodes"], told["frames"]) == (2, 12)
    assert told["skipped"] == [{"episode": "torn", "reason": "torn: no joint states"}]


def test_without_a_good_episode_nothing_is_made(bags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Fake, "made", ("torn",))
    assert main(["bag", "export", str(tmp_path / "out"), str(bags)]) == 1
    assert "nothing to write: all 1 episodes are bad" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="nothing to write"):
        export_lerobot(tmp_path / "out", [])
