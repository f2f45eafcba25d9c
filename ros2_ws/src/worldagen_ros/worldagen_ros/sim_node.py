"""Simulator node: any Environment appears as cameras, joint states and a clock, and obeys commands like a robot.

When it steps is the business of sim_pacing.py: in lockstep with the answers, or in real time. A reset is followed by a gap in
time longer than any the other nodes forgive, so that they start afresh.
"""

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped

from worldagen.errors import BadCommand, ConfigError, WorldAgenError
from worldagen_msgs.msg import GripperCommand
from worldagen_msgs.srv import ResetSimulator
from worldagen_ros import messages, topics
from worldagen_ros.diagnostics import ERROR, OK
from worldagen_ros.managed import ManagedNode
from worldagen_ros.runtime import run_node
from worldagen_ros.sim_outputs import SimOutputs
from worldagen_ros.sim_pacing import PACES
from worldagen_sim.environment import make_environment
from worldagen_sim.episode import Episodes, Status


class SimNode(ManagedNode):
    """All of the simulator, its GL context included, lives in the executor's thread."""

    sections = ("timing", "robot", "sim")

    def __init__(self) -> None:
        super().__init__("sim")

    def configure(self) -> None:
        self.timing, self.robot, self.sim = self.read()
        environment = make_environment(self.sim.environment, self.sim.renderer, self.sim.options)
        self.episodes = Episodes(environment, self.sim.tail_steps, self.sim.ends_on_success)
        kept = self.episodes.environment.convention.name
        if kept != self.robot.convention:
            raise ConfigError(
                f"robot.convention is {self.robot.convention!r}, but {self.sim.environment} keeps {kept!r}; say so"
            )
        self.period_s = self.episodes.environment.convention.period_s

    def activate(self) -> None:
        live = self.timing.mode == "realtime"
        self.outputs = SimOutputs(self, self.robot.frame_id, self.period_s if live else None)
        self.pace = PACES[self.timing.mode](self)
        self.create_service(ResetSimulator, topics.RESET_SIMULATOR, self.on_reset)
        self.episodes.begin(self.sim.task, self.sim.scene, self.sim.seed, self.sim.max_steps)
        self.begun()

    def begun(self, begin_at_ns: int = 0) -> None:
        """Show the first instant of an episode that was just begun, in lockstep stamped with this or later."""
        asked = self.episodes.assignment
        told = f"{asked.instruction!r}, scene {asked.scene}, seed {asked.seed}"
        self.get_logger().info(f"episode {self.episodes.count}: {told}")
        self.pace.begin(begin_at_ns)

    def row_of(self, motion: PoseStamped | TwistStamped | None, gripper: GripperCommand | None) -> np.ndarray:
        """What a command asks for, (7,); an arm that is told nothing, or nonsense, stands still."""
        commanded, opening = self.episodes.commanded_pose, self.episodes.state.gripper_opening
        try:
            return messages.decode_row(motion, gripper, commanded, self.period_s, opening)
        except BadCommand as error:
            self.get_logger().warning(f"stands still: {error}", throttle_duration_sec=2.0)
            self.diagnostics.set("command", ERROR, str(error))
            return np.append(np.zeros(6), opening)

    def step(self, motion: PoseStamped | TwistStamped | None, gripper: GripperCommand | None) -> bool:
        """One control step toward a command; False when the simulator could not go on."""
        before = self.episodes.status
        self.episodes.step(self.row_of(motion, gripper))
        status = self.episodes.status
        if status is not before:
            end = f"{status.name} after {self.episodes.steps} steps {self.episodes.detail}".rstrip()
            self.get_logger().info(f"episode {self.episodes.count}: {end}")
            self.diagnostics.set("episode", ERROR if status is Status.FAILED else OK, end)
        return status is not Status.FAILED

    def show(self, stamp_ns: int, with_pictures: bool) -> None:
        """Publish the present instant."""
        views = self.outputs.watched if with_pictures else ()
        pictures = self.episodes.environment.render(views) if views else {}
        self.outputs.publish_state(self.episodes, stamp_ns)
        self.outputs.publish_pictures(self.episodes, pictures, stamp_ns)

    def on_reset(self, request: ResetSimulator.Request, response: ResetSimulator.Response) -> ResetSimulator.Response:
        asked = self.episodes.assignment
        task, steps = request.task or asked.task, request.max_steps or self.sim.max_steps
        try:
            if request.state:
                self.episodes.restore(task, request.scene or asked.scene, np.array(request.state), steps, request.instruction)
            elif request.keep_world:
                self.episodes.take_up(task, steps, request.instruction)
            else:
                conditions = messages.decode_conditions(request.conditions)
                self.episodes.begin(task, request.scene or asked.scene, request.seed, steps, request.instruction, conditions)
            self.begun(messages.stamp_to_ns(request.begin_at))
            response.success, response.message = True, self.episodes.assignment.instruction
        except WorldAgenError as error:
            response.message = str(error)
        response.episode = self.episodes.count
        return response

    def cleanup(self) -> None:
        if hasattr(self, "episodes"):  # else it was refused while it was being made
            self.episodes.environment.close()
            del self.episodes


def main() -> None:
    run_node(SimNode)
