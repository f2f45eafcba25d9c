"""Measure an evaluation's world model on expert episodes, and show some of what it expected. No ROS takes part in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from worldagen.mixture.driving import MixtureDriver
from worldagen.mixture.opening import open_driver
from worldagen.network.config import VIEWS
from worldagen.picture_errors import ErrorSum, Units, real_pictures, sum_errors
from worldagen.preprocess import restore_image
from worldagen.session import load_policy
from worldagen.types import Observation
from worldagen.world_error import paint_ahead
from worldagen_ros.config import DeploymentConfig
from worldagen_sim.environment import make_environment
from worldagen_sim.evaluation import Trial
from worldagen_sim.expert_episodes import play_units
from worldagen_sim.prediction_sheet import Foreseen, draw_sheet

SHOWN_HORIZONS = (1, 3)
SHOWN_TASKS = (
    "open_drawer",
    "turn_on_lightbulb",
    "lift_red_block_table",
    "push_blue_block_left",
    "place_in_drawer",
    "stack_block",
)


@dataclass(frozen=True, eq=False)
class Measured:
    """What one expert episode gave. shown: of the unit in which most changes, for the contact sheet; None for a short one."""

    errors: list[ErrorSum]
    shown: Foreseen | None


class WorldMeter:
    """One environment and one network."""

    def __init__(self, config: DeploymentConfig) -> None:
        self._config, policy = config, config.policy
        self._policy = load_policy(Path(policy.checkpoint), policy.threads)  # before OpenGL; see DirectPlayer
        self._policy.use_plain_backbone()  # which has what is mixed in its weights
        self._network, self._conventions = self._policy.network, self._policy.conventions
        self._driver: MixtureDriver | None = None
        allowed = "policy.allow_rejected_adapter" if policy.allow_rejected_adapter else ""
        if policy.adapter:
            self._policy.load_adapter(Path(policy.adapter), allowed)
        if policy.routes:
            self._driver = open_driver(self._policy, Path(policy.bank), policy.routing, policy.refinement, allowed)
        self._environment = make_environment(config.sim.environment, config.sim.renderer, config.sim.options)

    def measure(self, trial: Trial) -> Measured:
        """Play an expert episode and compare. Raises WorldAgenError."""
        rows, max_steps = self._network.config.rows, self._config.sim.max_steps
        words = trial.instructions[0]
        units = play_units(self._environment, trial.tasks[0], trial.scene, trial.seed, words, rows, max_steps)
        if self._driver is not None:
            self._driver.take_in(observations_of(units))
        painted = paint_ahead(self._network, self._conventions, units, max(SHOWN_HORIZONS))
        note = f"scene {trial.scene}, seed {trial.seed}"
        return Measured(sum_errors(self._conventions, units, painted), self._shown(units, painted, note))

    def close(self) -> None:
        """Free the environment."""
        self._environment.close()

    def _shown(self, units: Units, painted: Sequence[np.ndarray], note: str) -> Foreseen | None:
        if len(painted) < max(SHOWN_HORIZONS):
            return None
        side, last = painted[0].shape[2], max(SHOWN_HORIZONS)
        real = {view: real_pictures(self._conventions, units, view, side) for view in VIEWS}
        change = sum(((real[view][last:] - real[view][:-last]) ** 2).mean(axis=(1, 2, 3)) for view in VIEWS)
        unit = int(np.argmax(change))
        columns = {}
        for place, view in enumerate(VIEWS):
            pictures = [real[view][unit]]
            for horizon in SHOWN_HORIZONS:
                pictures += [painted[horizon - 1][unit, place], real[view][unit + horizon]]
            columns[view] = [restore_image(self._conventions.image, picture) for picture in pictures]
        return Foreseen(units.instruction, note, columns)


def observations_of(units: Units) -> list[Observation]:
    """What a policy that decides once a unit sees of an episode: the frame and state at the beginning of each."""
    rows = len(units.actions) // len(units)
    pairs = zip(units.static, units.wrist, units.states[::rows], strict=False)  # the last frame begins no unit
    return [Observation(number, static, wrist, state) for number, (static, wrist, state) in enumerate(pairs)]


def shown_trials(trials: Sequence[Trial]) -> list[Trial]:
    """The expert episodes of the contact sheet: some tasks that look different, else the first ones, one of each task."""
    first = {trial.tasks[0]: trial for trial in reversed(trials)}
    chosen = [task for task in SHOWN_TASKS if task in first] or list(first)[::-1][: len(SHOWN_TASKS)]
    return [first[task] for task in chosen]


def draw_predictions(shown: Sequence[Foreseen], period_s: float, rows: int) -> Image.Image:
    """The contact sheet."""
    return draw_sheet(shown, [f"{horizon * rows * period_s:.2f} s" for horizon in SHOWN_HORIZONS])
