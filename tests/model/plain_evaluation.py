"""The oracle: the network evaluated the published way, twice per decision, everything encoded again, nothing left out.

It keeps queues of raw inputs, pads them on the right to K units by repeating the last entry, and calls the whole network.
"""

from collections import deque

import numpy as np
import torch

from worldagen.conventions import encode_state
from worldagen.network.heads import join_patches
from worldagen.network.worldagen import Predictions, Windows, WorldAgen
from worldagen.policy_conventions import PolicyConventions
from worldagen.preprocess import scale_image, scale_pose
from worldagen.types import Observation


class PlainEvaluation:
    """Two full passes per decision, in either history mode."""

    def __init__(self, network: WorldAgen, conventions: PolicyConventions, history: str, instruction: str) -> None:
        self.network, self.conventions, self.history, self.instruction = network, conventions, history, instruction
        units = network.config.units
        self.units_seen: deque[dict] = deque(maxlen=units)
        self.chunks: deque[np.ndarray] = deque(maxlen=units)
        self.step = 0

    @torch.inference_mode()
    def act(self, frames: list[Observation]) -> np.ndarray:
        """n observations of the newest unit -> (m, 7) network numbers."""
        self.units_seen.append(self._unit(frames))
        config = self.network.config
        unit = min(self.step, config.units - 1)
        history = list(self.chunks)
        if self.history == "aligned":
            history = history[len(history) - unit :]
        predictions = self._forward(history or [np.zeros((config.rows, 7))])
        arm = predictions.arm[0, unit].float().cpu().numpy().reshape(config.rows, config.action_steps, 6)[:, 0]
        gripper = (
            predictions.gripper_logit[0, unit].sigmoid().float().cpu().numpy().reshape(config.rows, config.action_steps)[:, :1]
        )
        chunk = np.concatenate([arm, np.where(gripper > 0.5, 1.0, -1.0)], axis=1).astype(np.float32)
        return chunk.astype(np.float16).astype(np.float32) if self.history == "reference" else chunk

    @torch.inference_mode()
    def imagine(self, chunk: np.ndarray) -> np.ndarray:
        """The chunk that is executed -> (n, 2, S, S, 3) normalised pixels; moves on to the next step."""
        self.chunks.append(chunk)
        unit = min(self.step, self.network.config.units - 1)
        images = self._forward(list(self.chunks)).images
        self.step += 1
        return join_patches(images[0, unit], self.network.config.image_head.patch).float().cpu().numpy()

    def _unit(self, frames: list[Observation]) -> dict[str, np.ndarray]:
        scaling, sizes = self.conventions.image, self.network.config.vision
        states = []
        for frame in frames:
            gripper = encode_state(self.conventions.actions, frame.state)[6]
            states.append([*scale_pose(self.conventions.state, frame.state[:6]), 1.0 if gripper > 0 else -1.0])
        return {
            "static": np.stack([scale_image(scaling, frame.static_image, sizes.static_size) for frame in frames]),
            "wrist": np.stack([scale_image(scaling, frame.wrist_image, sizes.wrist_size) for frame in frames]),
            "states": np.array(states),
        }

    def _forward(self, chunks: list[np.ndarray]) -> Predictions:
        units = self.network.config.units
        seen = _padded(list(self.units_seen), units)
        window = {
            name: self._tensor(np.concatenate([unit[name] for unit in seen])[None]) for name in ("static", "wrist", "states")
        }
        text = self.network.text([self.instruction] * units)[:1]
        return self.network(Windows(**window, actions=self._tensor(np.concatenate(_padded(chunks, units))[None]), text=text))

    def _tensor(self, numbers: np.ndarray) -> torch.Tensor:
        position = self.network.position
        return torch.from_numpy(numbers.astype(np.float32)).to(position.device, position.dtype)


def _padded(entries: list, units: int) -> list:
    return entries + [entries[-1]] * (units - len(entries))
