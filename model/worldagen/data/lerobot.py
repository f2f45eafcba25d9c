"""LeRobot data sets, version 3.0, as episodes: numbers from parquet, pictures from video, each decoded when it is wanted.

What the numbers mean is not in the format. It stands in our note in info.json, which `worldagen bag export` writes, or in a
worldagen_keys.json that its user puts beside it; without either the data set is refused, never guessed at.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldagen.config import apply_tree
from worldagen.conventions import Convention, find_convention
from worldagen.data import lerobot_format as form
from worldagen.data.episodes import Episode, Pictures
from worldagen.data.foreign import decode_each, decode_openings, fingerprint_files, require_numbers, require_picture
from worldagen.errors import BadEpisode, ConfigError, DataError

DAMAGE = (OSError, pa.ArrowException, ValueError, KeyError)
CAMERAS = ("video", "image")  # what info.json calls the type of a camera
MISMATCH = 0.01  # share by which the frame rate may differ from the convention's


class LeRobotSource:
    """A folder in LeRobot's format, version 3.0."""

    def __init__(self, path: Path) -> None:
        """Raises DataError for another version, for cameras or numbers it does not have, and where their meaning is untold."""
        self.spec, self.path = f"lerobot:{path}", Path(path)
        info = _read_json(self.path / form.INFO)
        _require_version(self.path, info)
        features = info.get("features")
        if not isinstance(features, dict):
            raise DataError(f"{self.path / form.INFO}: names no features; expected an object of them")
        self.keys = _find_keys(self.path, info, features)
        self._fps = float(info.get("fps") or 0)
        self._convention = _find_convention(self.path, self.keys, self._fps)
        _require_features(self.path, self.keys, features)
        self._data, self._video = str(info.get("data_path") or form.DATA), str(info.get("video_path") or form.VIDEO)
        self._tasks = _read_tasks(self.path / form.TASKS)
        self._rows = {f"{row['episode_index']:06d}": row for row in _read_episodes(self.path, self.keys)}

    def fingerprint(self) -> str:
        return fingerprint_files(sorted(file for file in self.path.rglob("*") if file.is_file()))

    def episodes(self) -> list[str]:
        if not self._rows:
            raise DataError(f"{self.path}: has no episode; expected at least one in meta/episodes")
        return list(self._rows)

    def read(self, name: str) -> Episode:
        if name not in self._rows:
            raise DataError(f"{self.spec}: has no episode {name!r}")
        row, keys = self._rows[name], self.keys
        columns = [keys.state, keys.action, *([keys.target] if keys.target else [])]
        table = self._table(name, row, [*columns, "frame_index", "task_index"])
        numbers = [require_numbers(name, key, table[key].to_pylist() or np.empty((0, 7)), 7) for key in columns]
        states, rows = self._decode(name, numbers)
        for key in (keys.static, keys.wrist):
            if not self._file(row, key).exists():
                raise BadEpisode(f"{name}: {self._file(row, key)} is missing")
        return Episode(
            name=name,
            instruction=self._words(name, table["task_index"].to_pylist()),
            convention=self._convention,
            states=states,
            actions=rows[0],
            targets=rows[-1],
            pictures=lambda: self._pictures(name, row, len(states)),
        )

    def _table(self, name: str, row: dict[str, Any], columns: list[str]) -> pa.Table:
        """The frames of one episode, in order; as many as its row promises."""
        places = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        file = self.path / self._data.format(**places)
        try:
            table = pq.read_table(file, columns=columns, filters=[("episode_index", "=", row["episode_index"])])
        except DAMAGE as error:
            raise BadEpisode(f"{name}: {file} cannot be read ({_first_line(error)})") from None
        table = table.sort_by("frame_index")
        if table["frame_index"].to_pylist() != list(range(row["length"])):
            raise BadEpisode(
                f"{name}: {file} holds {len(table)} frames of it; expected frames 0 to {row['length'] - 1}, each once"
            )
        return table

    def _decode(self, name: str, numbers: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """States and the rows of each kind of action, on our side of the convention."""
        states, *actions = numbers
        if self.keys.units == "SI":
            return states, actions
        openings = decode_openings(name, self._convention, states[:, 6])
        rows = [decode_each(name, self._convention, each, states[:, 3:6]) for each in actions]
        return np.column_stack([states[:, :6], openings]), rows

    def _words(self, name: str, tasks: list[int]) -> str:
        different = sorted(set(tasks))
        if len(different) > 1:
            raise BadEpisode(f"{name}: {len(different)} tasks in one episode; expected one from beginning to end")
        if different and different[0] not in self._tasks:
            raise BadEpisode(f"{name}: task {different[0]} is not in {form.TASKS}")
        return self._tasks[different[0]] if different else ""

    def _file(self, row: dict[str, Any], key: str) -> Path:
        places = {"chunk_index": row[f"videos/{key}/chunk_index"], "file_index": row[f"videos/{key}/file_index"]}
        return self.path / self._video.format(video_key=key, **places)

    def _pictures(self, name: str, row: dict[str, Any], count: int) -> Pictures:
        streams = [
            read_frames(self._file(row, key), row[f"videos/{key}/from_timestamp"], count, self._fps, name)
            for key in (self.keys.static, self.keys.wrist)
        ]
        return zip(*streams, strict=True)  # type: ignore[return-value]


def read_frames(file: Path, start_s: float, count: int, fps: float, name: str) -> Iterator[np.ndarray]:
    """`count` consecutive frames of a video from a time on, each (H, W, 3). Raises BadEpisode where one is not to be had."""
    wanted = 0
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            assert stream.time_base is not None  # every stream of a file has one
            container.seek(round(start_s / stream.time_base), stream=stream)  # to the key frame at or before it
            for frame in container.decode(stream):
                index = round(((frame.time or 0.0) - start_s) * fps)
                if index < wanted:
                    continue  # between the key frame and the episode, or one too many
                if index > wanted:
                    break
                yield require_picture(name, file.name, frame.to_ndarray(format="rgb24"))
                wanted += 1
                if wanted == count:
                    return
    except (av.FFmpegError, OSError, IndexError) as error:
        raise BadEpisode(f"{name}: picture {wanted} of {count} in {file} cannot be decoded ({_first_line(error)})") from None
    raise BadEpisode(f"{name}: {file} has no picture at {start_s + wanted / fps:.3f} s: number {wanted} of {count}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        tree = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); expected a LeRobot data set, version {form.VERSION}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{file}: holds no JSON object; expected a LeRobot data set, version {form.VERSION}")
    return tree


def _require_version(path: Path, info: dict[str, Any]) -> None:
    version = info.get("codebase_version")
    if version != form.VERSION:
        raise DataError(
            f"{path}: is a LeRobot data set of version {version}; expected {form.VERSION}. LeRobot itself converts older ones: "
            "python -m lerobot.scripts.convert_dataset_v21_to_v30 (in lerobot.datasets.v30 in some of its releases)"
        )


def _find_keys(path: Path, info: dict[str, Any], features: dict[str, Any]) -> form.LeRobotKeys:
    """The user's own file if there is one, else our note."""
    own = path / "meta" / form.KEYS_FILE
    tree, where = (_read_json(own), own) if own.exists() else (info.get(form.NOTE), path / form.INFO)
    missing = [key for key in ("convention", "units") if key not in (tree or {})]
    if missing:
        raise DataError(
            f"{where}: does not say how its numbers are to be read ({' and '.join(missing)}). Write {own}, for example\n"
            f'  {{"static": CAMERA, "wrist": CAMERA, "convention": "libero", "units": "native"}}\n'
            f"its cameras are: {_cameras(features)}; its numbers: {_numbers(features)}"
        )
    try:
        return apply_tree(form.LeRobotKeys(), tree, str(where))
    except ConfigError as error:
        raise DataError(str(error)) from None


def _find_convention(path: Path, keys: form.LeRobotKeys, fps: float) -> Convention:
    convention = find_convention(keys.convention)
    if fps <= 0 or abs(fps * convention.period_s - 1.0) > MISMATCH:
        raise DataError(f"{path}: has {fps:g} frames a second; convention {keys.convention!r} has {1 / convention.period_s:g}")
    return convention


def _require_features(path: Path, keys: form.LeRobotKeys, features: dict[str, Any]) -> None:
    """Refuse what is not there, with what is."""
    for key in (keys.static, keys.wrist):
        kind = features.get(key, {}).get("dtype")
        if kind != "video":
            found = "stores single images" if kind == "image" else "is none of its cameras"
            raise DataError(f"{path}: {key!r} {found}; expected a video. Its cameras are: {_cameras(features)}")
    for key in filter(None, (keys.state, keys.action, keys.target)):
        shape = list(features.get(key, {}).get("shape", ()))
        if shape != [7]:
            found = f"has shape {shape}" if key in features else "does not exist"
            raise DataError(f"{path}: {key!r} {found}; expected 7 numbers. Its numbers are: {_numbers(features)}")


def _cameras(features: dict[str, Any]) -> str:
    found = [f"{key} ({what['dtype']})" for key, what in features.items() if what.get("dtype") in CAMERAS]
    return ", ".join(found) or "none"


def _numbers(features: dict[str, Any]) -> str:
    found = [f"{key} {list(what.get('shape', ()))}" for key, what in features.items() if what.get("dtype") not in CAMERAS]
    return ", ".join(found) or "none"


def _read_tasks(file: Path) -> dict[int, str]:
    """Index -> words. The words' column is the index of a table that pandas wrote, and not always named."""
    try:
        table = pq.read_table(file)
        words = next(
            name
            for name in table.column_names
            if pa.types.is_string(table[name].type) or pa.types.is_large_string(table[name].type)
        )
        return dict(zip(table["task_index"].to_pylist(), table[words].to_pylist(), strict=True))
    except (*DAMAGE, StopIteration) as error:
        raise DataError(f"{file}: cannot be read ({_first_line(error)}); expected task_index and words") from None


def _read_episodes(path: Path, keys: form.LeRobotKeys) -> list[dict[str, Any]]:
    columns = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for key in (keys.static, keys.wrist):
        columns += [f"videos/{key}/{what}" for what in ("chunk_index", "file_index", "from_timestamp")]
    rows: list[dict[str, Any]] = []
    for file in sorted((path / "meta" / "episodes").rglob("*.parquet")):
        try:
            rows += pq.read_table(file, columns=columns).to_pylist()
        except DAMAGE as error:
            raise DataError(f"{file}: cannot be read ({_first_line(error)})") from None
        missing = sorted(set(columns) - set(rows[-1] if rows else columns))
        if missing:
            raise DataError(f"{file}: has no {', '.join(missing)}")
    return sorted(rows, key=lambda row: row["episode_index"])


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
