"""Films of episodes that failed: what the policy saw when it decided, for whoever asks why."""

from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from worldagen_ros import topics
from worldagen_ros.images import decode_image
from worldagen_ros.video import VideoWriter, draw_frame
from worldagen_sim.evaluation import Trial

FRAMES_PER_SECOND = 6.0  # a decision every 5 steps of 30 Hz


class Film:
    """Keeps the pictures of the present task, and writes them down if it fails. folder: None for no films."""

    def __init__(self, folder: Path | None, most: int) -> None:
        self._folder, self._most = folder, most
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []
        self._static: Image | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether pictures are kept at all."""
        return self._folder is not None

    def begin(self) -> None:
        """Another task; forgets the last one's pictures."""
        self._seen, self._static = [], None

    def see(self, static: np.ndarray, wrist: np.ndarray, stamp_ns: int = 0) -> None:
        """Both pictures of one instant, (H, W, 3) uint8."""
        if self.is_wanted:
            self._seen.append((static, wrist))

    def hear(self, topic: str, msg: Any) -> None:
        """A message of the stack; of an instant the static camera's picture comes first."""
        if not self.is_wanted:
            return
        if topic == topics.STATIC_IMAGE:
            self._static = msg
        elif topic == topics.WRIST_IMAGE and self._static is not None:
            self.see(decode_image(self._static), decode_image(msg))

    def keep(self, trial: Trial, number: int) -> None:
        """Write the film of the trial's task of this number, unless there are enough films already."""
        folder = self._folder
        if folder is None or not self._seen or len(list(folder.glob("*.mp4"))) >= self._most:
            return
        name = trial.key.replace("/", "_").replace(":", "-") + (f"_{number + 1}_{trial.tasks[number]}" if number else "")
        words, note = trial.instructions[number], f"scene {trial.scene}, seed {trial.seed}"
        video = VideoWriter(folder / f".{name}.mp4", FRAMES_PER_SECOND)
        for index, (static, wrist) in enumerate(self._seen):
            video.add(draw_frame(static, wrist, words, f"{note}, decision {index + 1}"))
        video.close()
        video.path.rename(folder / f"{name}.mp4")
