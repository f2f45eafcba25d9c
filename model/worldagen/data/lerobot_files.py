"""The files of a LeRobot data set that many episodes share: numbers as parquet, pictures as video.

Shapes: T instants of an episode.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldagen.data import lerobot_format as form

FILES_A_CHUNK = 1000
CODEC = "libx264"
# Every second frame stands alone, as in LeRobot's own videos: training reads single frames. 18 is close to lossless.
QUALITY = {"g": "2", "crf": "18", "bf": "0"}


class Place:
    """Which file comes next: a chunk is a folder of so many files."""

    def __init__(self) -> None:
        self._count = -1

    def next(self) -> None:
        self._count += 1

    def values(self) -> dict[str, int]:
        chunk, file = divmod(max(self._count, 0), FILES_A_CHUNK)
        return {"chunk_index": chunk, "file_index": file}


class FrameTable:
    """The frames of all episodes, in one parquet file after another; one row group an episode."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root, self._limit = root, limit_bytes
        self._writer: pq.ParquetWriter | None = None
        self._place, self._bytes = Place(), 0

    def append(self, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Write one episode; where it stands, as meta/episodes has it."""
        arrays = {name: _column(values) for name, values in columns.items()}
        table = pa.table(arrays)
        if self._writer is None or self._bytes + table.nbytes > self._limit:
            self.close()
            self._place.next()
            file = self._root / form.DATA.format(**self._place.values())
            file.parent.mkdir(parents=True, exist_ok=True)
            self._writer, self._bytes = pq.ParquetWriter(file, table.schema), 0
        self._writer.write_table(table)
        self._bytes += table.nbytes
        return {f"data/{key}": value for key, value in self._place.values().items()}

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _column(values: np.ndarray) -> pa.Array:
    """(T, 1) as plain numbers, (T, n) as lists of n."""
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


class Video:
    """One camera: the frames of all episodes, in one video after another."""

    def __init__(self, root: Path, key: str, fps: int, size: tuple[int, int], limit_bytes: int) -> None:
        self._root, self._key, self._fps, self._size, self._limit = root, key, fps, size, limit_bytes
        self._place = Place()
        self._container: Any = None  # of PyAV; between episodes there may be none
        self._stream: Any = None
        self._frames = self._bytes = self._first = 0
        self._pixels = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"  # the first halves the colours' resolution

    def begin_episode(self) -> None:
        if self._container is None or self._bytes >= self._limit:
            self.close()
            self._open()
        self._first = self._frames

    def add(self, picture: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = self._frames, Fraction(1, self._fps)
        self._write(self._stream.encode(frame))
        self._frames += 1

    def end_episode(self) -> dict[str, Any]:
        """Where the episode stands, as meta/episodes has it."""
        times = {"from_timestamp": self._first / self._fps, "to_timestamp": self._frames / self._fps}
        return {f"videos/{self._key}/{name}": value for name, value in (self._place.values() | times).items()}

    def close(self) -> None:
        if self._container is not None:
            self._write(self._stream.encode(None))
            self._container.close()
            self._container = None

    def feature(self) -> dict[str, Any]:
        """What info.json says of it."""
        height, width = self._size
        info = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": self._pixels,
            "video.fps": self._fps,
            "video.channels": 3,
            "has_audio": False,
            "is_depth_map": False,
        }
        return {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"], "info": info}

    def _open(self) -> None:
        self._place.next()
        file = self._root / form.VIDEO.format(video_key=self._key, **self._place.values())
        file.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(file), "w")
        self._stream = self._container.add_stream(CODEC, rate=self._fps, options=QUALITY)
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = self._pixels
        self._frames = self._bytes = 0

    def _write(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._bytes += packet.size
            self._container.mux(packet)
