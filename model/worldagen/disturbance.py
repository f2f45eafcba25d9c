"""Noise on a network's actions, on purpose: a policy that always does the same sees little of a new place.

It is laid on the network's own numbers, so that what is remembered as executed, converted to SI and published is one and the
same chunk. The noise is a function of its seed and of the decision's number: the same seed gives the same chunks.
"""

import math
from dataclasses import dataclass

import numpy as np

from worldagen.errors import ConfigError

ARM = 6  # numbers of a row that move the arm; the seventh is the gripper
STRONGEST = 0.5  # beyond this, most rows are noise, and many are clipped


def problem_with(noise: float, seed: int) -> str:
    """What is wrong with such noise, in words; empty when nothing is."""
    if not (math.isfinite(noise) and 0.0 <= noise <= STRONGEST):
        return f"action noise is {noise}; expected a deviation from 0 to {STRONGEST:g} of full scale"
    if seed < 0:
        return f"the seed of the action noise is {seed}; expected 0 or more"
    return ""


@dataclass(frozen=True)
class Disturbance:
    """Gaussian noise on the six arm numbers of every row, never on the gripper.

    noise: its deviation as a share of full scale, 0 to 0.5. seed: of the noise, >= 0. Raises ConfigError on anything else.
    """

    noise: float
    seed: int

    def __post_init__(self) -> None:
        if problem := problem_with(self.noise, self.seed):
            raise ConfigError(problem)

    def applied(self, numbers: np.ndarray, step: int) -> np.ndarray:
        """The numbers of decision `step`, disturbed: (m, 7) -> (m, 7) of the same type, the arm's clipped to [-1, 1]."""
        drawn = np.random.default_rng([self.seed, step]).normal(0.0, self.noise, (len(numbers), ARM))  # (m, 6)
        disturbed = numbers.copy()
        disturbed[:, :ARM] = np.clip(numbers[:, :ARM] + drawn, -1.0, 1.0)
        return disturbed


def make_disturbance(noise: float, seed: int) -> Disturbance | None:
    """A disturbance, or None for no noise. Raises ConfigError as Disturbance does."""
    return Disturbance(noise, seed) if noise else None
