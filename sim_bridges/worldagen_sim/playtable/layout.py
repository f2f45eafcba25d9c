"""Where things are at the start of an episode, drawn from its seed."""

from dataclasses import dataclass

import numpy as np

from worldagen.errors import SimulatorError
from worldagen_sim.playtable.desk import BLOCKS
from worldagen_sim.playtable.panda import BASE_M
from worldagen_sim.playtable.scenes import SceneParameters

BLOCK_X_M = (-0.16, 0.19)
BLOCK_Y_M = (-0.14, 0.07)
BLOCK_REACH_M = 0.66  # across, from the robot's base: 4 cm less than the tool reaches, to stand behind a block
BLOCK_YAW_RAD = 0.3
# Room for an open finger, or a closed hand, between any two blocks.
BLOCK_GAP_M = 0.065
TCP_CENTRE_M = (0.02, -0.17, 0.62)
TCP_SPREAD_M = (0.07, 0.06, 0.04)
TCP_YAW_RAD = np.pi / 2  # the fingers close along x
TCP_YAW_SPREAD_RAD = 0.15


@dataclass(frozen=True)
class Layout:
    """tcp_m: tool point (m); tcp_yaw_rad: its yaw, the hand pointing down; blocks: x, y (m) and yaw (rad) of each."""

    tcp_m: tuple[float, ...]
    tcp_yaw_rad: float
    blocks: tuple[tuple[float, float, float], ...]


def draw_layout(seed: int, scene: SceneParameters) -> Layout:
    """The layout of an episode; raises SimulatorError for a seed that is not a whole number from 0 up."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SimulatorError(f"the seed is {seed!r}; expected a whole number, 0 or more")
    random = np.random.default_rng(int(seed))
    tcp = random.uniform(-1.0, 1.0, size=3) * TCP_SPREAD_M + TCP_CENTRE_M
    yaw = TCP_YAW_RAD + random.uniform(-TCP_YAW_SPREAD_RAD, TCP_YAW_SPREAD_RAD)
    return Layout(tuple(tcp), yaw, _draw_blocks(random, scene.block_edge_m + BLOCK_GAP_M))


def _draw_blocks(random: np.random.Generator, spacing_m: float) -> tuple[tuple[float, float, float], ...]:
    """Draw all places until none is nearer to another than the spacing, or out of reach; most fifth draws fit."""
    while True:
        low, high = zip(BLOCK_X_M, BLOCK_Y_M, strict=True)
        places = random.uniform(low, high, size=(len(BLOCKS), 2))
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(len(places)) * spacing_m
        reach = np.linalg.norm(places - BASE_M[:2], axis=-1).max()
        if gaps.min() >= spacing_m and reach <= BLOCK_REACH_M:
            yaws = random.uniform(-BLOCK_YAW_RAD, BLOCK_YAW_RAD, size=len(places))
            return tuple((float(x), float(y), float(yaw)) for (x, y), yaw in zip(places, yaws, strict=True))
