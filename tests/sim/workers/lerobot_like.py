"""A Gymnasium environment with LeRobot's names, as its LIBERO has them."""

import gymnasium
import numpy as np

gymnasium.register("small/LeRobot-v0", entry_point="lerobot_like:LeRobotLike")


class LeRobotLike(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (7,), np.float32)
    observation_space = gymnasium.spaces.Dict({"last_action": action_space})

    def __init__(self, task_id: int) -> None:
        self.task = task_id

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeded, self.action = float(seed or 0), np.zeros(7, np.float32)
        return self.observe(), {}

    def step(self, action):
        self.action = action
        return self.observe(), 0.0, False, False, {"is_success": bool(action[6] > 0)}

    def observe(self):
        picture = np.zeros((8, 8, 3), np.uint8)
        picture[0] = 255
        state = {
            "eef": {"pos": np.array([0.1, 0.2, 0.3]), "quat": np.array([0.0, 0.0, 0.5**0.5, 0.5**0.5])},
            "joints": {"pos": np.array([self.seeded, float(self.task)])},
        }
        return {"pixels": {"image": picture, "image2": picture[:4, :4]}, "robot_state": state, "last_action": self.action}
