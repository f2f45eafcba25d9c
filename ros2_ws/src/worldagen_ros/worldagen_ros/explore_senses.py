"""What the explore node hears: the robot, its cameras, the simulator, the recorder. Pictures are counted, never decoded.

Joint states and pictures come so often that a node that does nothing would be busy with them: they are heard from `listen` to
`rest`, while an exploration is under way.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image, JointState

from worldagen.errors import WorldAgenError
from worldagen.exploring import Breach, EnvelopeWatch, Sample
from worldagen.poses import Pose
from worldagen_msgs.msg import ActionChunk, CommandStatus, GripperCommand, TaskState
from worldagen_ros import messages, qos, topics
from worldagen_ros.config import CamerasConfig, ExploreConfig, RobotConfig
from worldagen_ros.diagnostics import ERROR
from worldagen_ros.robots import kinematics_of

STREAMS = ("joint_states", *topics.CAMERA_TOPICS)
RECORDING_STOPPED = "recorder: recording"  # the status of the recorder that says so, at the end of its name


class Senses:
    """Newest values of everything. on_breach is called at once when the robot leaves its envelope, while it is listened to."""

    def __init__(
        self,
        node: Node,
        robot: RobotConfig,
        cameras: CamerasConfig,
        config: ExploreConfig,
        on_breach: Callable[[Breach], None],
    ) -> None:
        self._node, self._on_breach, self._compressed = node, on_breach, cameras.transport == "compressed"
        self._kinematics = kinematics_of(robot)
        self.watch = EnvelopeWatch(config.envelope)
        self.pose: Pose | None = None  # measured, once joint states came
        self.state_ns = 0  # their stamp
        self.opening = 1.0  # of the gripper, as last commanded, else as measured
        self._commanded = False
        self.pictures = 0  # that came, of both cameras
        self.task_state = TaskState()
        self.first_chunk_ns = 0  # stamp of the first chunk since `await_chunk`; 0: none yet
        self.command_status = CommandStatus()  # of the command node, which knows the deadman's button
        self.recorder_stopped = ""  # why the recorder ended a bag by itself
        self._chunks_from_ns = 0
        self._recording_since_s = 0.0
        self._heard_s: dict[str, float] = {}  # monotonic, of each stream that was heard since `listen`
        self._streams: list[Subscription] = []
        node.create_subscription(ActionChunk, topics.ACTION_CHUNK, self._on_chunk, qos.CHUNKS)
        node.create_subscription(GripperCommand, topics.GRIPPER_COMMAND, self._on_gripper, qos.commands(None))
        node.create_subscription(TaskState, topics.TASK_STATE, self._on_task_state, qos.LATCHED)
        node.create_subscription(CommandStatus, topics.COMMAND_STATUS, self._on_command_status, qos.LATCHED)
        node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.DIAGNOSTICS)

    def listen(self) -> None:
        """Hear joint states and cameras from now on, as if for the first time."""
        self.rest()
        self.pose, self.state_ns, self._heard_s = None, 0, {}
        self.watch.forget()
        make = partial(self._node.create_subscription, qos_overriding_options=qos.OVERRIDABLE)
        self._streams = [make(JointState, topics.JOINT_STATES, self._on_joints, qos.states())]
        kind, ending = (CompressedImage, "/compressed") if self._compressed else (Image, "")
        for stream, topic in topics.CAMERA_TOPICS.items():
            self._streams.append(make(kind, f"{topic}{ending}", partial(self._on_picture, stream), qos.images_in(), raw=True))

    def rest(self) -> None:
        """Hear them no longer; what they told last stays."""
        for subscription in self._streams:
            self._node.destroy_subscription(subscription)
        self._streams = []

    def missing(self) -> list[str]:
        """Streams that nothing was heard of since `listen`."""
        return [stream for stream in STREAMS if stream not in self._heard_s]

    def ages_s(self, since_s: float) -> dict[str, float]:
        """How long each input is silent, s, but not longer than since a time of the monotonic clock."""
        now_s = time.monotonic()
        return {stream: now_s - max(self._heard_s.get(stream, since_s), since_s) for stream in STREAMS}

    def await_chunk(self, from_ns: int) -> None:
        """From now on, look for the first chunk that answers an observation of this stamp or later."""
        self.first_chunk_ns, self._chunks_from_ns = 0, from_ns

    def begin_recording(self) -> None:
        """A recording begins: what its recorder says of earlier ones does not count."""
        self.recorder_stopped, self._recording_since_s = "", time.time()

    def _on_joints(self, msg: JointState) -> None:
        try:
            names, positions = messages.decode_joints(msg)
            pose = self._kinematics.tool_pose(names, positions)
            opening = self._kinematics.gripper_opening(names, positions)
        except WorldAgenError as error:  # counts as silence, and ends it if it goes on
            self._node.get_logger().warning(f"dropped a message of {topics.JOINT_STATES}: {error}", throttle_duration_sec=2.0)
            return
        self._heard_s["joint_states"] = time.monotonic()
        self.pose, self.state_ns = Pose.from_euler(pose), messages.stamp_to_ns(msg.header.stamp)
        if not self._commanded and opening is not None:
            self.opening = opening
        efforts = dict(zip(msg.name, msg.effort, strict=True)) if len(msg.effort) == len(msg.name) else {}
        if breach := self.watch.look(Sample(self.state_ns, pose, efforts)):
            self._on_breach(breach)

    def _on_picture(self, stream: str, _: Any) -> None:
        self._heard_s[stream] = time.monotonic()
        self.pictures += 1

    def _on_chunk(self, msg: ActionChunk) -> None:
        stamp_ns = messages.stamp_to_ns(msg.header.stamp)
        if self.first_chunk_ns == 0 and stamp_ns >= self._chunks_from_ns:
            self.first_chunk_ns = stamp_ns

    def _on_gripper(self, msg: GripperCommand) -> None:
        self.opening, self._commanded = min(1.0, max(0.0, msg.opening)), True

    def _on_command_status(self, msg: CommandStatus) -> None:
        self.command_status = msg

    def _on_task_state(self, msg: TaskState) -> None:
        if msg.episode != self.task_state.episode:
            self.watch.forget()
        self.task_state = msg

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        told_s = msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9
        for status in msg.status:
            named: Any = status.name
            if named.endswith(RECORDING_STOPPED) and status.level == ERROR and told_s > self._recording_since_s:
                self.recorder_stopped = status.message
