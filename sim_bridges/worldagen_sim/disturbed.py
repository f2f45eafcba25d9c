"""A simulator seen through noisy cameras, or moved by late actuators: what any robot has and no simulator does."""

from collections import deque
from collections.abc import Collection, Mapping

import numpy as np

from worldagen.errors import ConfigError
from worldagen_sim.environment import VIEWS, Camera, Environment, SimState, Task

MOST_DELAY = 30  # control steps


class Disturbed:
    """See Environment for the protocol; what is not disturbed is the simulator's.

    noise: deviation of Gaussian noise on every picture, share of its full scale. delay: control steps until a command takes
    effect; until the first one does, the arm stands still with the gripper as it is. Noise is drawn from the episode's seed and
    the instant, so the same episode is disturbed in the same way whoever plays it. Raises ConfigError.
    """

    def __init__(self, environment: Environment, noise: float = 0.0, delay: int = 0) -> None:
        if not 0.0 <= noise <= 1.0 or isinstance(delay, bool) or not isinstance(delay, int) or not 0 <= delay <= MOST_DELAY:
            raise ConfigError(f"noise={noise} and delay={delay}; expected 0 to 1, and a whole number from 0 to {MOST_DELAY}")
        self._environment, self._noise, self._delay = environment, noise, delay
        self._waiting: deque[np.ndarray] = deque()
        self._seed, self._time_ns, self._opening = 0, 0, 1.0
        self.name, self.scenes = environment.name, environment.scenes
        self.tasks: tuple[Task, ...] = environment.tasks
        self.version = f"{environment.version} noise {noise:g} delay {delay}"
        self.cameras: Mapping[str, Camera] = environment.cameras
        self.convention = environment.convention
        self.conditions: Mapping[str, str] = {}
        self.caveat = environment.caveat

    def reset(self, task: str, scene: str, seed: int, conditions: Mapping[str, str] | None = None) -> SimState:
        """See Environment."""
        state = self._environment.reset(task, scene, seed, conditions)
        self._seed = int(seed)
        self.conditions = self._environment.conditions
        return self._begun(state)

    def restore(self, task: str, scene: str, state: np.ndarray) -> SimState:
        """See Environment."""
        begun = self._environment.restore(task, scene, state)
        self._seed = 0
        self.conditions = self._environment.conditions
        return self._begun(begun)

    def take_up(self, task: str) -> SimState:
        """See Environment; commands that wait are kept, as the arm's are."""
        return self._seen(self._environment.take_up(task))

    def step(self, action: np.ndarray) -> SimState:
        """See Environment."""
        self._waiting.append(np.asarray(action, np.float64))
        still = np.append(np.zeros(6), self._opening)
        due = self._waiting.popleft() if len(self._waiting) > self._delay else still
        return self._seen(self._environment.step(due))

    def render(self, views: Collection[str] = VIEWS) -> dict[str, np.ndarray]:
        """See Environment."""
        pictures = self._environment.render(views)
        if not self._noise:
            return pictures
        return {view: self._noisy(view, picture) for view, picture in pictures.items()}

    def close(self) -> None:
        """See Environment."""
        self._environment.close()

    def _begun(self, state: SimState) -> SimState:
        self._waiting.clear()
        return self._seen(state)

    def _seen(self, state: SimState) -> SimState:
        self._time_ns, self._opening = state.time_ns, state.gripper_opening
        return state

    def _noisy(self, view: str, picture: np.ndarray) -> np.ndarray:
        random = np.random.default_rng([self._seed, self._time_ns, VIEWS.index(view)])
        noise = random.standard_normal(picture.shape, np.float32) * (255.0 * self._noise)
        return np.clip(picture + noise, 0.0, 255.0).astype(np.uint8)
