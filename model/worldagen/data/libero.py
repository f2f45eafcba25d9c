"""LIBERO's demonstrations: one HDF5 file for each task, in robomimic's layout.

Two traps, both from how LIBERO made these files (its create_dataset.py): pictures are stored upside down, and what is stored
at index i was seen *after* action i. So instant t shows stored observation t, just before stored action t + 1.

Shapes: N stored steps, T = N - 1 instants.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from worldagen.conventions import find_convention
from worldagen.data.episodes import Episode, Pictures
from worldagen.data.foreign import decode_each, decode_openings, fingerprint_files, require_numbers, require_picture
from worldagen.errors import BadEpisode, DataError

CONVENTION = find_convention("libero")
STATIC, WRIST = "obs/agentview_rgb", "obs/eye_in_hand_rgb"
POSITION, ORIENTATION, ACTIONS = "obs/ee_pos", "obs/ee_ori", "actions"
SUFFIX = ".hdf5"
DAMAGE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError)  # what h5py raises for a damaged file


class LiberoSource:
    """All demonstrations in a folder (and the folders in it), or in one file."""

    def __init__(self, path: Path) -> None:
        """Raises DataError where there is no HDF5 file."""
        self.spec, path = f"libero:{path}", Path(path)
        found = [path] if path.is_file() else sorted(path.rglob(f"*{SUFFIX}"))
        if not found:
            raise DataError(f"{path}: holds no {SUFFIX} file; expected LIBERO's demonstrations, one file for each task")
        base = path.parent if path.is_file() else path
        self._files = found
        self._demonstrations: dict[str, tuple[Path, str]] = {}  # name of the episode -> file, group
        for file in found:
            task = str(file.relative_to(base).with_suffix(""))
            # a file that cannot be opened is one episode, so that reading it is refused by name
            self._demonstrations |= {f"{task}/{demo}": (file, f"data/{demo}") for demo in _groups(file)} or {
                task: (file, "data")
            }

    def fingerprint(self) -> str:
        return fingerprint_files(self._files)

    def episodes(self) -> list[str]:
        return list(self._demonstrations)

    def read(self, name: str) -> Episode:
        if name not in self._demonstrations:
            raise DataError(f"{self.spec}: has no episode {name!r}")
        file, group = self._demonstrations[name]
        try:
            with h5py.File(file, "r") as opened:
                data: Any = opened["data"]
                if group == "data":
                    raise BadEpisode(f"{name}: {file.name} holds no demonstration; expected data/demo_0 and so on")
                demo: Any = opened[group]
                _require_all(name, file, demo)
                words = _words(data)
                arrays = [demo[key][()] for key in (POSITION, ORIENTATION, ACTIONS)]
                counts = {key: len(demo[key]) for key in (STATIC, WRIST, POSITION, ORIENTATION, ACTIONS)}
        except DAMAGE as error:
            raise BadEpisode(f"{name}: {file} cannot be read ({error}); copy it again") from None
        if len(set(counts.values())) != 1:
            raise BadEpisode(f"{name}: lengths differ: {', '.join(f'{key} {count}' for key, count in counts.items())}")
        position = require_numbers(name, POSITION, arrays[0], 3)
        turns = require_numbers(name, ORIENTATION, arrays[1], 3)
        actions = require_numbers(name, ACTIONS, arrays[2], 7)
        if len(actions) < 2:
            raise BadEpisode(
                f"{name}: {len(actions)} stored steps; expected at least 2, an observation and the action after it"
            )
        euler = Rotation.from_rotvec(turns).as_euler("xyz")  # stored as axis times angle
        openings = decode_openings(name, CONVENTION, actions[:, 6])  # observation t was seen after action t: its last command
        rows = decode_each(name, CONVENTION, actions[1:], euler[:-1])
        return Episode(
            name=name,
            instruction=words,
            convention=CONVENTION,
            states=np.column_stack([position, euler, openings])[:-1],
            actions=rows,
            targets=rows,
            pictures=lambda: _pictures(name, file, group, len(rows)),
        )


def _groups(file: Path) -> list[str]:
    """Names of the demonstrations in a file, in the order of their numbers; none when it is damaged."""
    try:
        with h5py.File(file, "r") as opened:
            data: Any = opened["data"]
            return sorted((key for key in data if key.startswith("demo_")), key=lambda key: int(key.removeprefix("demo_")))
    except DAMAGE:
        return []


def _require_all(name: str, file: Path, demo: Any) -> None:
    missing = [key for key in (STATIC, WRIST) if key not in demo]
    if missing:
        raise DataError(f"{file}: no {' and no '.join(missing)} in {name}; there are: {', '.join(demo.get('obs', ()))}")
    missing = [key for key in (POSITION, ORIENTATION, ACTIONS) if key not in demo]
    if missing:
        raise BadEpisode(f"{name}: no {' and no '.join(missing)} in {file}")


def _words(data: Any) -> str:
    """The instruction, which stands in the file as JSON; empty where there is none."""
    told = json.loads(data.attrs.get("problem_info", "{}")).get("language_instruction", "")
    return (" ".join(told) if isinstance(told, list) else str(told)).strip().strip('"')


def _pictures(name: str, file: Path, group: str, count: int) -> Pictures:
    try:
        with h5py.File(file, "r") as opened:
            demo: Any = opened[group]
            static, wrist = demo[STATIC], demo[WRIST]
            for index in range(count):
                pair = [np.ascontiguousarray(camera[index][::-1]) for camera in (static, wrist)]  # stored upside down
                yield require_picture(name, STATIC, pair[0]), require_picture(name, WRIST, pair[1])
    except DAMAGE as error:
        raise BadEpisode(f"{name}: a picture in {file} cannot be read ({error})") from None
