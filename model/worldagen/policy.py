"""What every policy does, whatever is inside: the network, a scripted expert, a recording."""

from typing import Protocol

from worldagen.types import ActionChunk, Observation


class Policy(Protocol):
    """One decision after another within an episode. Not thread-safe: one thread owns a policy."""

    def reset(self, instruction: str) -> None:
        """Forget the history and take up a new instruction."""
        ...

    def act(self, observation: Observation) -> ActionChunk:
        """Answer one observation. Raises BadObservation before the history changes, so that the next good one works."""
        ...
