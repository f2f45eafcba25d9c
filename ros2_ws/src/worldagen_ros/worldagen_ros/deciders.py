"""What can sit inside the policy node: samples of some streams in, an ActionChunk out.

Streams are "static_camera", "wrist_camera" (pictures), "joint_states" (names and positions) and "task_state" (task,
instruction and named numbers of a simulator). A decider says which it needs; torch is imported only for the network.
"""

import time
from collections.abc import Callable

import numpy as np

from worldagen.assembly import SampleSet
from worldagen.conventions import CONVENTIONS
from worldagen.deciding import Decider
from worldagen.errors import UnknownName
from worldagen.kinematics import ForwardKinematics
from worldagen.policy import Policy
from worldagen.types import ActionChunk, Observation
from worldagen_ros.config import PolicyConfig, RobotConfig


class NetworkDecider:
    """The network behind the Policy interface: pictures and joint states become an Observation."""

    name = "network"
    streams: tuple[str, ...] = ("static_camera", "wrist_camera", "joint_states")

    def __init__(self, policy: Policy, kinematics: ForwardKinematics, source: str) -> None:
        self._policy = policy
        self._kinematics = kinematics
        self.source = source
        self._opening = 1.0

    def reset(self, instruction: str) -> None:
        self._policy.reset(instruction)
        self._opening = 1.0  # episodes begin with an open gripper

    def decide(self, samples: SampleSet) -> ActionChunk:
        tool_pose = self._kinematics.tool_pose(*samples.values["joint_states"])
        chunk = self._policy.act(
            Observation(
                stamp_ns=samples.stamp_ns,
                static_image=samples.values["static_camera"],
                wrist_image=samples.values["wrist_camera"],
                state=np.append(tool_pose, self._opening),
            )
        )
        self._opening = float(chunk.rows[-1, 6])  # the state's gripper is the last commanded one, as in CALVIN
        return chunk


class ExpertDecider:
    """A scripted expert that reads the simulator's own state."""

    name = "expert"
    source = ""
    streams: tuple[str, ...] = ("task_state",)

    def __init__(self, rows: int) -> None:
        from worldagen_sim.experts import ExpertPolicy

        self._expert = ExpertPolicy()
        self._rows = rows
        self._instruction = ""
        self._sequence = 0

    def reset(self, instruction: str) -> None:
        self._instruction = instruction
        self._sequence = 0

    def decide(self, samples: SampleSet) -> ActionChunk:
        started = time.perf_counter()
        task, instruction, values = samples.values["task_state"]
        if instruction != self._instruction:
            raise UnknownName(f"instruction for the expert in task {task}", self._instruction, [instruction])
        if self._sequence == 0:
            self._expert.reset(task)
        rows = self._expert.plan(values, self._rows)
        chunk = ActionChunk(
            stamp_ns=samples.stamp_ns,
            sequence=self._sequence,
            period_s=CONVENTIONS["calvin"].period_s,
            convention="calvin",
            rows=rows,
            inference_s=time.perf_counter() - started,
        )
        self._sequence += 1
        return chunk


def make_expert(policy: PolicyConfig, robot: RobotConfig) -> Decider:
    """The scripted expert."""
    return ExpertDecider(policy.rows)


def make_network(policy: PolicyConfig, robot: RobotConfig) -> Decider:
    """The network with seeded random weights."""
    from worldagen.session import make_policy

    kinematics = ForwardKinematics(robot.urdf, robot.tool_frame, robot.base_pose)
    session = make_policy(policy.preset, seed=policy.seed, threads=policy.threads)
    return NetworkDecider(session, kinematics, f"{policy.preset} preset, random weights of seed {policy.seed}")


DECIDERS: dict[str, Callable[[PolicyConfig, RobotConfig], Decider]] = {"expert": make_expert, "network": make_network}
