"""Chains of five tasks in one world, of whichever simulator has them, and their score.

Rates count how many tasks in a row were done, as in Mees et al., "CALVIN: A Benchmark for Language-Conditioned Policy Learning
for Long-Horizon Robot Manipulation Tasks", 2022.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from worldagen.errors import SimulatorError

LENGTH = 5
SOURCES = {"playtable": "worldagen_sim.playtable.chains:draw_chain", "calvin": "worldagen_sim.calvin.chains:draw_chain"}


@dataclass(frozen=True)
class Chain:
    """seed: of the episode's layout too; conditions: before the first task."""

    seed: int
    conditions: Mapping[str, str]
    tasks: tuple[str, ...]


def draw_chain(environment: str, seed: int) -> Chain:
    """The chain of a seed in the simulator of that name; raises SimulatorError where there are none."""
    if environment not in SOURCES:
        raise SimulatorError(f"{environment} has no chains of tasks; those that do: {', '.join(SOURCES)}. Ask for 0 chains")
    module, function = SOURCES[environment].split(":")
    draw: Callable[[int], Chain] = getattr(import_module(module), function)
    return draw(seed)


@dataclass(frozen=True)
class ChainScore:
    """rates: share of chains with at least 1, 2, ... tasks done in a row; mean_length: tasks done in a row, on average.

    low, high: 95 % interval of the mean length, from a bootstrap over chains.
    """

    chains: int
    rates: tuple[float, ...]
    mean_length: float
    low: float
    high: float


def score_chains(done_in_a_row: Sequence[int], length: int = LENGTH) -> ChainScore:
    """The score of chains of which so many tasks were done before the first failure."""
    done = np.asarray(done_in_a_row)
    if len(done) == 0 or done.min() < 0 or done.max() > length:
        raise SimulatorError(f"tasks done in a row: {list(done_in_a_row)}; expected one or more numbers from 0 to {length}")
    drawn = np.random.default_rng(0).integers(len(done), size=(2000, len(done)))
    low, high = np.quantile(done[drawn].mean(axis=1), [0.025, 0.975])
    rates = tuple(float((done >= k).mean()) for k in range(1, length + 1))
    return ChainScore(len(done), rates, float(done.mean()), float(low), float(high))
