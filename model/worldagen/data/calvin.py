"""CALVIN's own data set: one npz file for each frame of long play, and segments of it with words.

The path is a split, `training` or `validation`. A segment with words, both ends included, is one episode. Frame t was seen
just before action t. Nothing is unpickled; so the words must be JSON, which docs/datasets.md tells how to make.
"""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldagen.conventions import find_convention
from worldagen.data.episodes import Episode, Pictures
from worldagen.data.foreign import decode_each, decode_openings, fingerprint_files, require_numbers, require_picture
from worldagen.errors import BadEpisode, DataError

CONVENTION = find_convention("calvin")
WORDS = Path("lang_annotations") / "auto_lang_ann.json"
STATIC, WRIST = "rgb_static", "rgb_gripper"
STATE, STATE_WIDTH, LAST_GRIPPER = "robot_obs", 15, 14
ACTION = "rel_actions"
# what numpy raises for a file that is cut off, no npz at all, or holds pickled objects
DAMAGE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, TypeError, AttributeError)


@dataclass(frozen=True)
class _Segment:
    start: int
    end: int  # included
    words: str

    @property
    def frames(self) -> range:
        return range(self.start, self.end + 1)


class CalvinSource:
    """A split of the CALVIN data set."""

    def __init__(self, path: Path) -> None:
        """Raises DataError for a folder that is no split, or whose words are missing, pickled or damaged."""
        self.spec, self.path = f"calvin:{path}", Path(path)
        self._segments = {
            f"{index:05d}_{segment.start:07d}_{segment.end:07d}": segment
            for index, segment in enumerate(_read_segments(self.path))
        }

    def fingerprint(self) -> str:
        frames = sorted({frame for segment in self._segments.values() for frame in segment.frames})
        return fingerprint_files([self.path / WORDS, *map(self._file, frames)])

    def episodes(self) -> list[str]:
        if not self._segments:
            raise DataError(f"{self.path / WORDS}: describes no segment; expected at least one")
        return list(self._segments)

    def read(self, name: str) -> Episode:
        if name not in self._segments:
            raise DataError(f"{self.spec}: has no episode {name!r}")
        segment = self._segments[name]
        frames = [self._load(name, frame, STATE, ACTION) for frame in segment.frames]
        found = require_numbers(name, STATE, [frame[0] for frame in frames] or np.empty((0, STATE_WIDTH)), STATE_WIDTH)
        actions = require_numbers(name, ACTION, [frame[1] for frame in frames] or np.empty((0, 7)), 7)
        openings = decode_openings(name, CONVENTION, found[:, LAST_GRIPPER])
        rows = decode_each(name, CONVENTION, actions, found[:, 3:6])
        return Episode(
            name=name,
            instruction=segment.words,
            convention=CONVENTION,
            states=np.column_stack([found[:, :6], openings]),
            actions=rows,
            targets=rows,
            pictures=lambda: self._pictures(name, segment),
        )

    def _pictures(self, name: str, segment: _Segment) -> Pictures:
        for frame in segment.frames:
            static, wrist = self._load(name, frame, STATIC, WRIST)
            where = f"{name}: frame {frame}"
            yield require_picture(where, STATIC, static), require_picture(where, WRIST, wrist)

    def _load(self, name: str, frame: int, *keys: str) -> list[np.ndarray]:
        file = self._file(frame)
        try:
            with np.load(file) as arrays:
                missing = [key for key in keys if key not in arrays.files]
                if not missing:
                    return [arrays[key] for key in keys]
                kept = ", ".join(arrays.files)
        except FileNotFoundError:
            raise BadEpisode(f"{name}: {file.name} is missing in {self.path}") from None
        except DAMAGE as error:
            raise BadEpisode(f"{name}: {file.name} cannot be read ({error}); copy it again") from None
        raise BadEpisode(f"{name}: {file.name} has no {', '.join(missing)}; it has: {kept}")

    def _file(self, frame: int) -> Path:
        return self.path / f"episode_{frame:07d}.npz"


def _read_segments(path: Path) -> list[_Segment]:
    file = path / WORDS
    if not file.exists():
        raise DataError(_why_no_words(path))
    try:
        told = json.loads(file.read_text("utf-8"))
        words, ends = told["language"]["ann"], told["info"]["indx"]
        segments = [_Segment(int(start), int(end), text) for text, (start, end) in zip(words, ends, strict=True)]
        if not all(isinstance(segment.words, str) for segment in segments):
            raise TypeError("words that are no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: cannot be used ({type(error).__name__}: {error}); expected "
            '{"language": {"ann": [words, ...]}, "info": {"indx": [[start, end], ...]}}, equally many of both'
        ) from None
    return segments


def _why_no_words(path: Path) -> str:
    splits = [split for split in ("training", "validation") if (path / split).is_dir()]
    if splits:
        return f"{path}: holds the splits {' and '.join(splits)}; give one of them, e.g. calvin:{path / splits[0]}"
    if (path / WORDS).with_suffix(".npy").exists():
        return (
            f"{path}: its words are a pickle ({WORDS.with_suffix('.npy')}), which can run any program when it is opened, so "
            f"this suite never opens one. If you trust it, make {WORDS.name} of it: docs/datasets.md has the line"
        )
    return f"{path}: has no {WORDS}; expected a split of the CALVIN data set, its language annotations as JSON"
