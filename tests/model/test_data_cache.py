"""The cache: what it holds, when it is made again, and that nothing half made is ever found."""

import errno
import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bag_making import WORDS, write_bag
from demonstration_making import demonstrate, records_of, write_demonstration

from worldagen.data import cache as caching
from worldagen.data.bags import BagSource
from worldagen.data.cache import FrameCache, open_cache, picture_sizes
from worldagen.errors import DataError
from worldagen.network.config import find_preset
from worldagen.preprocess import ImageScaling, square_image

SIZES = (("static", 8), ("wrist", 6))
SCALING = ImageScaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def bags(tmp_path) -> Path:
    folder = tmp_path / "bags"
    for seed, name in enumerate(("a", "b")):
        write_demonstration(folder / name, demonstrate(f"push {name}", seed=seed, steps=4 + seed))
    return folder


def make(root: Path, *folders: Path, sizes=SIZES, scaling=SCALING, processes=1) -> FrameCache:
    return open_cache(root, [f"bag:{folder}" for folder in folders], sizes, scaling, processes)


def left_in(root: Path) -> list[str]:
    return sorted(item.name for item in root.iterdir() if item.name != caching.LOCK)


def die(_) -> None:
    os._exit(9)


def damage(folder: Path) -> None:
    file = next(folder.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-100])


def test_it_holds_every_frame_of_every_episode_in_order(tmp_path, bags):
    cache = make(tmp_path / "cache", bags)
    assert [(one.name, one.instruction, one.first, one.length) for one in cache.episodes] == [
        ("a", "push a", 0, 4),
        ("b", "push b", 4, 5),
    ]
    second = BagSource(bags).read("b")
    for name in ("states", "actions", "targets"):
        assert np.array_equal(getattr(cache, name)[4:], getattr(second, name))
    assert cache.value_names == ("drawer", "lamp") and np.array_equal(cache.values[4:, 0], second.values["drawer"])
    expected = [square_image(SCALING, wrist, 6) for _, wrist in second.pictures()]
    assert np.array_equal(cache.pictures("wrist", 6)[4:], expected)
    with pytest.raises(DataError, match="no pictures wrist_8; it has static_8, wrist_6"):
        cache.pictures("wrist", 8)


def test_where_not_every_instant_has_a_picture_they_are_still_read_by_instant(tmp_path):
    for every, name in ((1, "all"), (3, "rare")):
        for seed in range(2):
            shown = demonstrate("push", seed=seed, steps=7 + seed)
            stamps = set(shown.stamps_ns[::every])
            records = [record for record in records_of(shown) if "image" not in record[0].name or record[3] in stamps]
            write_bag(tmp_path / name / str(seed), records)
    whole, rare = (make(tmp_path / f"{name}_cache", tmp_path / name) for name in ("all", "rare"))
    assert [(one.first, one.length, one.every) for one in rare.episodes] == [(0, 7, 3), (7, 8, 3)]
    assert rare.shown.tolist() == [0, 3, 6, 7, 10, 13] and rare.stored("wrist", 6).shape == (6, 6, 6, 3)
    assert np.array_equal(rare.states, whole.states) and np.array_equal(rare.values, whole.values)
    chosen = np.array([[6, 0], [10, 13]])
    assert np.array_equal(rare.pictures("static", 8)[chosen], whole.pictures("static", 8)[chosen])
    assert np.array_equal(rare.pictures("static", 8)[13], whole.pictures("static", 8)[13])
    with pytest.raises(DataError, match="instant 8 of the data has no picture"):
        rare.pictures("static", 8)[np.array([7, 8])]


def test_a_network_says_which_pictures_it_needs():
    assert picture_sizes(find_preset("playtable")) == (("static", 64), ("static", 96), ("wrist", 64))


def test_the_same_again_is_not_decoded_again(tmp_path, bags, monkeypatch):
    first = make(tmp_path / "cache", bags)
    monkeypatch.setattr(caching, "decode_episode", None)
    assert make(tmp_path / "cache", bags).folder == first.folder


def test_other_bags_sizes_or_a_flip_make_another_cache(tmp_path, bags):
    folders = {make(tmp_path / "cache", bags).folder}
    folders.add(make(tmp_path / "cache", bags, sizes=(("static", 8), ("wrist", 8))).folder)
    folders.add(make(tmp_path / "cache", bags, scaling=replace(SCALING, flip_rows=True)).folder)
    folders.add(make(tmp_path / "cache", bags, bags / "a").folder)
    shutil.rmtree(bags / "a")
    write_demonstration(bags / "a", demonstrate("pull a", seed=7, steps=4))
    changed = make(tmp_path / "cache", bags)
    assert len({*folders, changed.folder}) == 5 and changed.episodes[0].instruction == "pull a"


def test_interrupted_at_any_episode_it_leaves_nothing_and_the_next_try_succeeds(tmp_path, bags, monkeypatch):
    decode, root = caching.decode_episode, tmp_path / "cache"

    def interrupted(episode, *arguments):
        if episode.name == "b":
            raise KeyboardInterrupt
        return decode(episode, *arguments)

    monkeypatch.setattr(caching, "decode_episode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(root, bags)
    assert left_in(root) == []
    monkeypatch.undo()
    assert len(make(root, bags).episodes) == 2


def test_what_a_killed_run_left_is_swept_away(tmp_path, bags):
    root = tmp_path / "cache"
    made = make(root, bags).folder
    made.rename(root / f".{made.name}.12345")
    make(root, bags)
    assert left_in(root) == [made.name]


def test_an_episode_that_cannot_be_used_is_skipped_with_its_reason(tmp_path, bags):
    damage(bags / "a")
    cache = make(tmp_path / "cache", bags)
    assert [episode.name for episode in cache.episodes] == ["b"]
    assert [skipped.name for skipped in cache.skipped] == ["a"] and "a: " in cache.skipped[0].reason


def test_with_nothing_left_the_reasons_are_told(tmp_path, bags):
    damage(bags / "a")
    shutil.rmtree(bags / "b")
    write_bag(bags / "b", records_of(demonstrate(), without=(WORDS,)))
    with pytest.raises(DataError, match=r"(?s)none of 2 episodes can be used.*a: .*recover.*b: no words"):
        make(tmp_path / "cache", bags)
    assert left_in(tmp_path / "cache") == []


def test_values_that_some_episodes_lack_are_not_kept(tmp_path, bags):
    write_bag(bags / "c", [item for item in records_of(demonstrate(steps=3)) if "task_state" not in item[0].name])
    cache = make(tmp_path / "cache", bags)
    assert cache.value_names == () and cache.values.shape == (12, 0)


def test_two_conventions_are_refused(tmp_path, bags):
    other = tmp_path / "other"
    write_bag(other / "c", records_of(demonstrate(rate_hz=20.0)), {"parameters": {"robot.convention": "libero"}})
    with pytest.raises(DataError, match=r"c has the convention .*'libero'.*the episodes before it .*'calvin'"):
        make(tmp_path / "cache", bags, other)
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("where", ["pictures", "numbers", "index"])
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path, bags, monkeypatch, where):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if where == "pictures":
        real = Path.open

        def opened(path, *arguments, **options):
            return open("/dev/full", "wb", buffering=0) if path.suffix == ".u8" else real(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", opened)
    elif where == "numbers":
        monkeypatch.setattr(np, "save", full)
    else:
        monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DataError, match="No space left on device; nothing of it was kept"):
        make(tmp_path / "cache", bags)
    assert left_in(tmp_path / "cache") == []


def test_a_place_where_nothing_can_be_written_is_refused(tmp_path, bags):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match="caches cannot be made here"):
        make(tmp_path / "cache", bags)


def test_two_processes_make_the_same_files_as_one(tmp_path, bags):
    damage(bags / "a")
    for seed in range(3):
        write_demonstration(bags / f"more_{seed}", demonstrate(seed=seed, steps=3))
    one, two = (make(tmp_path / f"with_{count}", bags, processes=count).folder for count in (1, 2))
    files = sorted(file.name for file in one.iterdir())
    assert files == sorted(file.name for file in two.iterdir())
    for name in files:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_of_two_that_want_it_at_once_one_makes_it_and_the_other_waits(tmp_path, bags):
    begun = multiprocessing.get_context("fork")
    told = begun.SimpleQueue()

    def want():
        told.put([episode.name for episode in make(tmp_path / "cache", bags).episodes])

    both = [begun.Process(target=want) for _ in range(2)]
    for process in both:
        process.start()
    assert [told.get() for _ in both] == [["a", "b"]] * 2
    for process in both:
        process.join()
    assert len(left_in(tmp_path / "cache")) == 1


def test_a_worker_that_is_killed_is_told(tmp_path, bags, monkeypatch):
    monkeypatch.setattr(caching, "_decode", die)
    with pytest.raises(DataError, match="use fewer processes"):
        make(tmp_path / "cache", bags, processes=2)
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("file", ["index.json", "states.npy", "static_8.u8"])
def test_a_cache_that_was_damaged_later_is_refused(tmp_path, bags, file):
    folder = make(tmp_path / "cache", bags).folder
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="made again"):
        make(tmp_path / "cache", bags).pictures("static", 8)


def test_rows_that_went_astray_are_noticed(tmp_path, bags):
    folder = make(tmp_path / "cache", bags).folder
    index = json.loads((folder / "index.json").read_text())
    index["episodes"].pop()
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="not 4 rows everywhere"):
        make(tmp_path / "cache", bags)
