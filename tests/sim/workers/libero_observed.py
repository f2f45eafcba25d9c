"""LIBERO with what it would observe itself among the values, for the tests. Run in LIBERO's process, found by its path."""

from dataclasses import replace

from worldagen_sim.libero.simulator import Libero

SENSORS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_joint_pos", "robot0_gripper_qpos")


class Observed(Libero):
    def _read(self, success):
        state = super()._read(success)
        sensors = self._world.env._setup_observables()
        told = {f"{name}{k}": float(number) for name in SENSORS for k, number in enumerate(sensors[name]._sensor({}))}
        return replace(state, values=told)


def make_observed(**options):
    return Observed(**options)
