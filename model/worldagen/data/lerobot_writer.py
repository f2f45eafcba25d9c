"""Episodes as a LeRobot data set, version 3.0, that LeRobot's own tools open.

Numbers stay SI, as float32: `observation.state` is a pose (m, rad) and the gripper, `action` the row that was executed,
`target` the row that should have been, which is what imitation learning on disturbed demonstrations wants. Pictures become
H.264. What the numbers mean stands under "worldagen" in info.json, so that `lerobot:` reads it back. An episode's further named
values have no place in the format and are left out.

Everything is written aside and renamed at the end: a folder of that name is whole, or it is not there.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldagen.data import lerobot_format as form
from worldagen.data.episodes import Episode, Source
from worldagen.data.lerobot_files import FILES_A_CHUNK, FrameTable, Video
from worldagen.data.lerobot_stats import PictureCounts, Statistics, describe_numbers
from worldagen.errors import BadEpisode, DataError, WorldAgenError

MIB = 1 << 20
KEYS = form.LeRobotKeys(target=form.TARGET)
STATE_NAMES = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
ROW_NAMES = ["dx", "dy", "dz", "rx", "ry", "rz", "gripper"]
VECTORS = {KEYS.state: STATE_NAMES, KEYS.action: ROW_NAMES, KEYS.target: ROW_NAMES}
COUNTERS = ("frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Limits:
    """A new file is begun once one is larger; episodes are never cut."""

    data_mib: int = 100
    video_mib: int = 200


@dataclass(frozen=True)
class Export:
    """What was written. skipped: name of each bad episode and why."""

    folder: Path
    episodes: int
    frames: int
    skipped: tuple[tuple[str, str], ...]


def export_lerobot(folder: Path, sources: Iterable[Source], tell: Callable[[str], None] = print) -> Export:
    """Write all episodes of some sources. Raises DataError when there is none, or when the folder is not empty."""
    skipped = []
    with LeRobotWriter(folder) as writer:
        for source in sources:
            for name in source.episodes():
                try:
                    writer.add(source.read(name))
                except BadEpisode as error:
                    skipped.append((name, str(error)))
                    tell(f"skipped {name}: {error}")
        if not writer.episodes:
            raise DataError(f"{folder}: nothing to write: all {len(skipped)} episodes are bad. Nothing was changed")
        writer.finish()
        return Export(folder, writer.episodes, writer.frames, tuple(skipped))


class LeRobotWriter:
    """One data set being written: add episodes, then finish. Left without finish, it leaves nothing behind."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        """Raises DataError when there is something in the folder, or it cannot be made."""
        self.folder, self.limits = Path(folder), limits or Limits()
        self.episodes = self.frames = 0
        self._kind: _Kind | None = None
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []  # of meta/episodes
        self._numbers: list[dict[str, np.ndarray]] = []  # of each episode, for the statistics of all
        place = self.folder.absolute()
        self._aside = place.with_name(f".{place.name}.{os.getpid()}.unfinished")
        with self._guarded():
            first = next(self.folder.iterdir(), None) if self.folder.exists() else None
            if first is not None:
                raise DataError(f"{self.folder}: not empty (there is {first.name}); give a folder that does not exist")
            self._aside.mkdir(parents=True)

    def __enter__(self) -> "LeRobotWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._aside.exists():
            self._close_files()
            shutil.rmtree(self._aside, ignore_errors=True)

    def add(self, episode: Episode) -> None:
        """Append one episode. Raises BadEpisode, and has then written nothing of it, for one that is bad or does not belong."""
        counts, kind = _look_through(episode)
        if self._kind is None:
            self._begin(kind)
        elif kind != self._kind:
            raise BadEpisode(f"{episode.name}: is {kind}; this data set is {self._kind}. Export it into another folder")
        with self._guarded():
            self._append(episode, counts)

    def finish(self) -> None:
        """Write the descriptions and put the folder in its place. Raises DataError when nothing was added."""
        if self._kind is None:
            raise DataError(f"{self.folder}: no episode was added; a data set needs at least one")
        with self._guarded():
            self._close_files()
            self._write_descriptions(self._kind)
            self._aside.rename(self.folder)  # replaces an empty folder

    def _begin(self, kind: "_Kind") -> None:
        self._kind, self._fps = kind, kind.fps
        self._cameras = {
            key: Video(self._aside, key, kind.fps, shape, self.limits.video_mib * MIB)
            for key, shape in ((KEYS.static, kind.static), (KEYS.wrist, kind.wrist))
        }
        self._counts = {key: PictureCounts() for key in self._cameras}
        self._table = FrameTable(self._aside, self.limits.data_mib * MIB)

    def _append(self, episode: Episode, counts: Mapping[str, PictureCounts]) -> None:
        length, task = len(episode), self._tasks.setdefault(episode.instruction, len(self._tasks))
        numbers = self._number(episode, task)
        places = self._table.append(numbers)
        for camera in self._cameras.values():
            camera.begin_episode()
        for _, *pair in episode.frames():
            for camera, picture in zip(self._cameras.values(), pair, strict=True):
                camera.add(picture)
        for key, camera in self._cameras.items():
            places |= camera.end_episode()
            self._counts[key].merge(counts[key])
        described = _describe([numbers], counts)
        self._rows.append(
            {
                "episode_index": self.episodes,
                "tasks": [episode.instruction],
                "length": length,
                "dataset_from_index": self.frames,
                "dataset_to_index": self.frames + length,
                **places,
                **{f"stats/{key}/{name}": value.tolist() for key, item in described.items() for name, value in item.items()},
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        self._numbers.append(numbers)
        self.episodes, self.frames = self.episodes + 1, self.frames + length

    def _number(self, episode: Episode, task: int) -> dict[str, np.ndarray]:
        """All columns of an episode: vectors (T, 7), the others (T, 1)."""
        frames = np.arange(len(episode))
        columns = {
            KEYS.state: episode.states.astype(np.float32),
            KEYS.action: episode.actions.astype(np.float32),
            KEYS.target: episode.targets.astype(np.float32),
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full_like(frames, self.episodes),
            "index": frames + self.frames,
            "task_index": np.full_like(frames, task),
        }
        return {name: column.reshape(len(frames), -1) for name, column in columns.items()}

    def _close_files(self) -> None:
        if self._kind is not None:
            self._table.close()
            for camera in self._cameras.values():
                camera.close()

    def _write_descriptions(self, kind: "_Kind") -> None:
        everything = _describe(self._numbers, self._counts)
        stats = {key: {name: value.tolist() for name, value in item.items()} for key, item in everything.items()}
        episodes = self._aside / form.EPISODES.format(chunk_index=0, file_index=0)
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), episodes)
        pq.write_table(_task_table(list(self._tasks)), self._aside / form.TASKS)
        (self._aside / form.STATS).write_text(json.dumps(stats, indent=1), "utf-8")
        (self._aside / form.INFO).write_text(json.dumps(self._information(kind), indent=2, ensure_ascii=False), "utf-8")

    def _information(self, kind: "_Kind") -> dict[str, Any]:
        scalars = {"timestamp": "float32", **dict.fromkeys(COUNTERS, "int64")}
        return {
            "codebase_version": form.VERSION,
            "robot_type": None,
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": FILES_A_CHUNK,
            "data_files_size_in_mb": self.limits.data_mib,
            "video_files_size_in_mb": self.limits.video_mib,
            "fps": kind.fps,
            "splits": {"train": f"0:{self.episodes}"},
            "data_path": form.DATA,
            "video_path": form.VIDEO,
            "features": {
                **{key: {"dtype": "float32", "shape": [7], "names": names} for key, names in VECTORS.items()},
                **{key: camera.feature() for key, camera in self._cameras.items()},
                **{key: {"dtype": dtype, "shape": [1], "names": None} for key, dtype in scalars.items()},
            },
            form.NOTE: asdict(KEYS) | {"convention": kind.convention, "units": "SI"},
        }

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What the system, the encoder or a source that changed refuses ends the export: files are half written by then."""
        try:
            yield
        except (OSError, av.FFmpegError, pa.ArrowException, BadEpisode) as error:
            raise DataError(f"{self.folder}: cannot be written ({error}); what was begun is removed") from error


@dataclass(frozen=True)
class _Kind:
    """What all episodes of a data set share. static, wrist: height and width."""

    convention: str
    fps: int
    static: tuple[int, int]
    wrist: tuple[int, int]

    def __str__(self) -> str:
        sizes = " and ".join(f"{width}x{height}" for height, width in (self.static, self.wrist))
        return f"{self.convention!r} at {self.fps} Hz with pictures of {sizes}"


def _look_through(episode: Episode) -> tuple[dict[str, PictureCounts], _Kind]:
    """Decode all pictures once, before any is encoded: a bad episode must leave nothing in a video it shares with others."""
    fps = round(1 / episode.convention.period_s)
    if abs(fps * episode.convention.period_s - 1.0) > 1e-6:
        raise BadEpisode(f"{episode.name}: a period of {episode.convention.period_s} s; LeRobot wants whole frames a second")
    if episode.every != 1:
        raise BadEpisode(f"{episode.name}: a picture of every {episode.every}th control step; LeRobot wants one of each")
    counts = {KEYS.static: PictureCounts(), KEYS.wrist: PictureCounts()}
    sizes: list[set[tuple[int, int]]] = [set(), set()]
    try:
        for _, *pair in episode.frames():
            for picture, count, size in zip(pair, counts.values(), sizes, strict=True):
                count.add(picture)
                size.add(picture.shape[:2])
    except WorldAgenError as error:
        raise BadEpisode(f"{episode.name}: {error}" if episode.name not in str(error) else str(error)) from None
    if any(len(size) > 1 for size in sizes):
        raise BadEpisode(f"{episode.name}: pictures change their size: {', '.join(map(str, sorted(set().union(*sizes))))}")
    return counts, _Kind(episode.convention.name, fps, sizes[0].pop(), sizes[1].pop())


def _describe(numbers: list[dict[str, np.ndarray]], counts: Mapping[str, PictureCounts]) -> dict[str, Statistics]:
    """Statistics of every feature over some episodes."""
    vectors = {key: describe_numbers(np.concatenate([episode[key] for episode in numbers])) for key in numbers[0]}
    return vectors | {key: count.describe() for key, count in counts.items()}


def _task_table(words: list[str]) -> pa.Table:
    """task_index and words, the words as what pandas takes for the index: LeRobot looks them up there."""
    table = pa.table({"task_index": pa.array(range(len(words)), pa.int64()), "task": pa.array(words, pa.string())})
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_kind, "metadata": None}
        for name, kind, numpy_kind in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    index = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(index)})
