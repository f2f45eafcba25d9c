"""Random numbers by name: an episode's seed and a parameter's name give the number, whatever else is drawn, in any order.

So a new parameter changes no old episode, and the same seed means the same draws in every scene and task.
"""

import zlib

import numpy as np

from worldagen.errors import SimulatorError


class Draws:
    """The named random numbers of one seed. Raises SimulatorError for a seed that is not a whole number from 0 up."""

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise SimulatorError(f"the seed is {seed!r}; expected a whole number, 0 or more")
        self.seed = int(seed)

    def generator(self, name: str) -> np.random.Generator:
        """A generator of its own for everything drawn under this name."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def __call__(self, name: str, spread: float = 1.0) -> float:
        """A number, uniform from -spread to spread."""
        return float(self.generator(name).uniform(-spread, spread))

    def between(self, name: str, low: float, high: float) -> float:
        """A number, uniform from low to high."""
        return float(self.generator(name).uniform(low, high))

    def vector(self, name: str, size: int, spread: float = 1.0) -> np.ndarray:
        """Numbers (size,), uniform from -spread to spread."""
        return self.generator(name).uniform(-spread, spread, size)
