"""The playtable as a Gymnasium environment.

    import gymnasium
    import worldagen_sim.gymnasium_playtable  # registers it

    environment = gymnasium.make("worldagen/Playtable-v0", task="open_drawer", scene="A")

Actions are CALVIN's: seven numbers from -1 to 1, of which the first three are 0.02 m along x, y, z each, the next three
0.05 rad of Euler angles, the last is the gripper, closed below 0. Observations are what a policy sees. The reward is 1 in the
step that completes the task, which ends the episode; a wrapper of Gymnasium's ends it after 360 steps.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldagen.conventions import decode_actions
from worldagen.errors import SimulatorError
from worldagen_sim.environment import SimState, find_task, make_environment, observe

EPISODE_STEPS = 360
LARGEST_SEED = 2**31 - 1
STATE_LIMIT = np.array([2.0] * 3 + [np.pi] * 3 + [1.0])  # farther than the arm reaches


gymnasium.register(
    "worldagen/Playtable-v0", entry_point="worldagen_sim.gymnasium_playtable:PlaytableEnv", max_episode_steps=EPISODE_STEPS
)


class PlaytableEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """Observation: static_image (200, 200, 3), wrist_image (84, 84, 3) uint8 RGB; state (7,): tool pose (m, rad), opening."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self, task: str = "open_drawer", scene: str = "A", renderer: str = "auto", render_mode: str | None = None
    ) -> None:
        """Raises UnknownName for a task or renderer that does not exist; an unknown scene is told at the reset."""
        if render_mode not in (None, "rgb_array"):
            raise SimulatorError(f"the playtable's render_mode is {render_mode!r}; expected rgb_array or None")
        self.render_mode = render_mode
        self._environment = make_environment("playtable", renderer=renderer)
        self._task, self._scene = find_task(self._environment, task).name, scene
        self._state: SimState | None = None
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)
        pictures = {
            f"{name}_image": spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
            for name, camera in self._environment.cameras.items()
        }
        self.observation_space = spaces.Dict({**pictures, "state": spaces.Box(-STATE_LIMIT, STATE_LIMIT, dtype=np.float64)})

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode. The seed, or one drawn from an earlier seed, identifies it with task and scene.

        options: task, scene, conditions for this and the following episodes, else as before. Raises UnknownName or
        SimulatorError for what does not exist or cannot be.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        task, scene = options.pop("task", self._task), options.pop("scene", self._scene)
        conditions = options.pop("conditions", None)
        if options:
            raise SimulatorError(f"unknown reset options {', '.join(options)}; expected task, scene, conditions")
        episode_seed = int(self.np_random.integers(LARGEST_SEED)) if seed is None else seed
        self._state = self._environment.reset(task, scene, episode_seed, conditions)
        self._task, self._scene = task, scene
        words = find_task(self._environment, task).instruction
        told = {"seed": episode_seed, "scene": scene, "conditions": dict(self._environment.conditions)}
        return self._observation(), {"task": task, "instruction": words, "success": False, **told}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Play one action. Raises SimulatorError before the first reset, or for numbers that are not finite."""
        if self._state is None:
            raise SimulatorError("the playtable has no episode; call reset first")
        row = decode_actions(self._environment.convention, np.asarray(action, np.float64)[None], self._state.target_pose[3:])
        self._state = self._environment.step(row[0])
        done = self._state.success
        return self._observation(), float(done), done, False, {"success": done}

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The static picture (200, 200, 3) when render_mode is rgb_array."""
        return self._environment.render()["static"] if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the renderer."""
        self._environment.close()

    def _observation(self) -> dict[str, np.ndarray]:
        assert self._state is not None
        seen = observe(self._state, self._environment.render())
        return {name: np.array(getattr(seen, name)) for name in ("static_image", "wrist_image", "state")}
