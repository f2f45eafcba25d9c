"""One play table of calvin_env: what of that package is used, and what has to be known about it.

Only public names of calvin_env are touched. It draws its cameras in every step, so they are taken out of it and asked for
when somebody looks. Its configuration comes from the clone, as the data set's would; no data set is needed.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from worldagen.errors import SimulatorError
from worldagen_sim.calvin.clone import Clone

VIEWS = {"static": "static", "wrist": "gripper"}  # our name of a camera -> theirs
ENVIRONMENT_SEED = 0  # where calvin_env puts blocks before it is told where to put them


class World:
    """The robot at the table of one scene, in PyBullet."""

    def __init__(self, clone: Clone, scene: str, egl: bool) -> None:
        import hydra

        self._clone, self._instantiate = clone, hydra.utils.instantiate
        self._config = self._compose(scene)
        switches = {"show_gui": False, "use_vr": False, "use_scene_info": True, "use_egl": egl}
        self._table: Any = self._instantiate(self._config.env, **switches)
        self._take_in()

    def load(self, scene: str) -> None:
        """Go to another scene.

        In the same PyBullet client: calvin_env forgets in places which client it belongs to, so that two would mix.
        """
        self._config, table = self._compose(scene), self._table
        table.p.removeState(self._pristine, physicsClientId=table.cid)
        table.seed(ENVIRONMENT_SEED)
        table.scene = self._instantiate(self._config.scene, p=table.p, cid=table.cid, np_random=table.np_random)
        table.load()
        self._take_in()

    def begin(self, robot_obs: np.ndarray, scene_obs: np.ndarray) -> None:
        """Put everything where it is said to be, (15,) and (24,), whatever was before.

        calvin_env's own reset leaves contacts, the last gripper action and pressed buttons of the episode before.
        """
        table = self._table
        table.p.restoreState(stateId=self._pristine, physicsClientId=table.cid)
        table.robot.gripper_action = 1 if robot_obs[14] > 0 else -1
        for button in table.scene.buttons:
            button.prev_is_pressed = False
        table.reset(robot_obs=robot_obs, scene_obs=scene_obs)

    def step(self, action: np.ndarray) -> Any:
        """Play a relative action, (7,) in [-1, 1], for one control period; what the oracle needs to know afterwards.

        A plain vector of 7 is relative in every version of calvin_env, some of which scale it in place.
        """
        return self._table.step(np.array(action, np.float64))[3]

    def info(self) -> Any:
        """What the oracle needs to know of the present state."""
        return self._table.get_info()

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """robot_obs (15,) and scene_obs (24,), its blocks in the order of `blocks`."""
        state = self._table.get_state_obs()
        return np.asarray(state["robot_obs"], np.float64), np.asarray(state["scene_obs"], np.float64)

    def joints(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and velocities (9,) of the seven joints of the arm and the two fingers, rad and m.

        Of the instant of the tool pose in robot_obs: PyBullet tells links as they were before the last physics step and
        joints as they are after it, and a moving arm would be elsewhere by millimetres.
        """
        robot = self._table.robot
        joints = [*robot.arm_joint_ids, *robot.gripper_joint_ids]
        states = self._table.p.getJointStates(robot.robot_uid, joints, physicsClientId=self._table.cid)
        positions, velocities = (np.array([state[index] for state in states]) for index in (0, 1))
        return positions - velocities / self._config.env.bullet_time_step, velocities

    @property
    def target_pose(self) -> np.ndarray:
        """(6,) what relative actions add to: x, y, z, roll, pitch, yaw; the angles are sums and may pass pi."""
        return np.concatenate([self._table.robot.target_pos, self._table.robot.target_orn])

    def picture(self, view: str) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright."""
        return np.ascontiguousarray(self._cameras[VIEWS[view]].render()[0], dtype=np.uint8)

    def close(self) -> None:
        """Leave PyBullet; harmless to call twice."""
        if self._table is not None:
            self._table.close()
            self._table.ownsPhysicsClient = False  # it closes once more when it is collected
        self._table = None

    def _compose(self, scene: str) -> Any:
        from hydra import compose, initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra

        root = self._clone.calvin_env
        asked = [
            "cameras=static_and_gripper",
            "use_vr=false",
            "record=false",
            f"scene=calvin_scene_{scene}",
            f"seed={ENVIRONMENT_SEED}",
        ]
        GlobalHydra.instance().clear()  # of which a process has one
        with initialize_config_dir(config_dir=str(root / "conf"), version_base=None):
            return compose("config_data_collection", overrides=[*asked, f"data_path='{root / 'data'}'"])

    def _take_in(self) -> None:
        table = self._table
        table.cameras = []
        objects = list(table.scene.get_objects())
        self._cameras = {
            name: self._instantiate(camera, cid=table.cid, robot_id=table.robot.robot_uid, objects=objects)
            for name, camera in self._config.cameras.items()
        }
        # Theirs say block_red, and every scene has an order of its own.
        self.blocks = tuple("_".join(reversed(thing.name.split("_"))) for thing in table.scene.movable_objects)
        self._pristine = table.p.saveState(physicsClientId=table.cid)


def commit_of(clone: Clone) -> str:
    """The git commit of calvin_env, which it wants to know itself. Raises SimulatorError where git cannot tell."""
    from calvin_env.utils.utils import get_git_commit_hash  # type: ignore[import-not-found]

    try:
        return str(get_git_commit_hash(Path(os.path.join(clone.calvin_env, "calvin_env", "__init__.py"))))
    except Exception as error:  # of GitPython, or of git
        raise SimulatorError(
            f"git does not tell the commit of {clone.calvin_env} ({type(error).__name__}: {error}), and calvin_env does not "
            "run without it; look whether `git log` works there"
        ) from None
