"""A lockstep episode without ROS in between: simulator, decider and commander in one thread, the messages of the nodes out.

The same parts that live in the nodes, called in the order in which lockstep calls them, and the same functions that make their
messages (instants.py, messages.py). What one part tells another goes through the message, as it does on the wire.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from std_msgs.msg import String

from worldagen.assembly import SampleSet
from worldagen.commanding import Commander
from worldagen.deciding import Decider
from worldagen.disturbance import Disturbance
from worldagen.poses import Pose
from worldagen_ros import messages, topics
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.inputs import SOURCES
from worldagen_ros.instants import chunk_messages, picture_messages, state_messages
from worldagen_ros.robots import kinematics_of
from worldagen_sim.environment import VIEWS
from worldagen_sim.episode import Episodes, Status

Say = Callable[[str, Any, int], None]  # relative topic, message, stamp in nanoseconds


class DirectStack:
    """Plays episodes that were begun in `episodes`, with any decider."""

    def __init__(self, config: DeploymentConfig, episodes: Episodes, decider: Decider) -> None:
        robot = config.robot
        self._config, self._episodes, self._decider = config, episodes, decider
        self._kinematics = kinematics_of(robot)
        self._period_s = episodes.environment.convention.period_s

    def play(
        self,
        begin_ns: int,
        say: Say,
        disturbance: Disturbance | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        picture_every: int = 1,
    ) -> None:
        """Play the episode to its end. Everything that is said passes `say`, in the order of lockstep.

        The last instant is answered too, as the nodes do, who cannot know that the simulator stops there.
        begin_ns: stamp of the first instant. disturbance: noise on the decider's actions. should_stop: asked at every instant,
        after the joint states were said; true breaks the episode off there. picture_every: where every control step is shown,
        only so many-th ones are, and those that the decider looks at. Raises WorldAgenError where a node would have refused.
        """
        config, episodes = self._config, self._episodes
        command = config.command
        commander = Commander(command.limits, command.blend_rows, command.max_chunk_age_s)
        base_ns = begin_ns - episodes.state.time_ns
        looks_at = {f"{view}_camera": view for view in VIEWS}
        wanted = [view for stream, view in looks_at.items() if stream in self._decider.streams]
        views = VIEWS if config.sim.every_picture else wanted  # a recording wants them all
        self._decider.reset(episodes.assignment.instruction, disturbance)
        say(topics.INSTRUCTION, String(data=episodes.assignment.instruction), begin_ns)
        while True:
            now_ns = base_ns + episodes.state.time_ns
            spoken = state_messages(episodes, now_ns, config.robot.frame_id)
            _say_all(spoken, say, now_ns)
            if should_stop():
                return
            running = episodes.status is Status.RUNNING
            answered = not commander.has_rows and (config.sim.every_picture or running)
            drawn = views if episodes.steps % picture_every == 0 else wanted
            if drawn and (answered or config.sim.every_picture):
                shows = picture_messages(episodes.environment.render(drawn), episodes.environment.cameras, now_ns)
                _say_all(shows, say, now_ns)
                spoken |= shows
            if answered:
                told = chunk_messages(self._decider.decide(self._samples(spoken, now_ns)), config.robot.frame_id)
                _say_all(told, say, now_ns)
                self._decider.prepare()  # the policy node does so after every decision
                commander.offer(messages.decode_chunk(told[topics.ACTION_CHUNK], config.robot.frame_id), now_ns)
            if commander.has_rows:
                row = self._command(commander, spoken[topics.JOINT_STATES], now_ns, say)
            if not running:
                return
            episodes.step(row)

    def _samples(self, spoken: dict[str, Any], now_ns: int) -> SampleSet:
        """What the decider needs of this instant, decoded as its node does."""
        sources = {stream: SOURCES[stream] for stream in self._decider.streams}
        return SampleSet(now_ns, {stream: decode(spoken[topic]) for stream, (topic, _, decode) in sources.items()})

    def _command(self, commander: Commander, joints: Any, now_ns: int, say: Say) -> np.ndarray:
        """One tick of the commander: the row (7,) that it asks for."""
        config, episodes = self._config, self._episodes
        measured = Pose.from_euler(self._kinematics.tool_pose(*messages.decode_joints(joints)))
        sent = commander.tick(now_ns, measured) or commander.hold(measured)
        twist = config.command.interface == "delta_twist"
        period_s, frame_id = commander.period_s or self._period_s, config.robot.frame_id
        motion = messages.encode_motion(sent.pose, sent.motion, twist, period_s, now_ns, frame_id)
        gripper = messages.encode_gripper(sent.opening, now_ns, frame_id)
        say(topics.DELTA_TWIST if twist else topics.TARGET_POSE, motion, now_ns)
        say(topics.GRIPPER_COMMAND, gripper, now_ns)
        return messages.decode_row(motion, gripper, episodes.commanded_pose, self._period_s)


def _say_all(spoken: dict[str, Any], say: Say, stamp_ns: int) -> None:
    for topic, msg in spoken.items():
        say(topic, msg, stamp_ns)
