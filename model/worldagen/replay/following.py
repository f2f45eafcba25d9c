"""A policy that follows a recorded run: its history holds what was executed then, even where it answers otherwise now.

What it sees next is the result of what was executed, and it was trained on such histories. Where its answers are those of the
recording nothing is changed, to the last bit.
"""

from collections.abc import Sequence

import numpy as np
import torch

from worldagen.conventions import encode_actions
from worldagen.errors import BadChunk
from worldagen.session import NetworkPolicy
from worldagen.types import ROW_LENGTH, ActionChunk, Observation


class FollowingPolicy(NetworkPolicy):
    """`follow` comes between `act` and `prepare`."""

    _orientation = np.zeros(3)  # of the newest observation, rad

    @classmethod
    def of(cls, policy: NetworkPolicy) -> "FollowingPolicy":
        """The same network, with a history of its own."""
        return cls(policy.network, policy.conventions, policy.history)

    def act(self, observation: Observation, earlier: Sequence[Observation] = ()) -> ActionChunk:
        chunk = super().act(observation, earlier)
        self._orientation = observation.state[3:6]
        return chunk

    def follow(self, rows: np.ndarray) -> None:
        """These rows, (m, 7) SI, were executed instead of those of the last chunk. Raises BadChunk for another number of them.

        Clipped to what the network can say, as in training. `predict` still tells what its own chunk would have led to.
        """
        wanted = self.network.config.rows
        if rows.shape != (wanted, ROW_LENGTH):
            raise BadChunk(f"rows of shape {rows.shape} were executed; this network's chunks have ({wanted}, {ROW_LENGTH})")
        own = np.array(rows)  # scipy takes no read-only rows
        numbers = np.clip(encode_actions(self.conventions.actions, own, self._orientation), -1.0, 1.0)
        with torch.inference_mode():
            self._executed[-1] = self._encode_chunk(numbers)
        self._prepared = None
