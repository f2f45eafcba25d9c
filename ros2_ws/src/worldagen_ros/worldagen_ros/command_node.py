"""Command node: chunks in, one limited command per row out. It imports no torch and outlives the policy.

When it ticks is the business of command_pacing.py. Nothing is commanded before a chunk has come; when chunks stop, the arm
holds; when the joint states stop, nothing is commanded at all.
"""

import time

from geometry_msgs.msg import PoseStamped, TwistStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from worldagen.commanding import Command, Commander, CommandState
from worldagen.errors import BadChunk, BadCommand, WorldAgenError
from worldagen.poses import Pose
from worldagen_msgs.msg import ActionChunk, GripperCommand
from worldagen_ros import messages, qos, topics
from worldagen_ros.command_pacing import PACES
from worldagen_ros.diagnostics import ERROR, OK, WARN
from worldagen_ros.managed import ManagedNode
from worldagen_ros.robots import kinematics_of
from worldagen_ros.runtime import run_node


class CommandNode(ManagedNode):
    """Decodes, ticks the Commander, encodes."""

    sections = ("timing", "robot", "command")

    def __init__(self) -> None:
        super().__init__("command")

    def configure(self) -> None:
        self.timing, self.robot, self.config = self.read()
        self.kinematics = kinematics_of(self.robot)

    def activate(self) -> None:
        self.commander = Commander(self.config.limits, self.config.blend_rows, self.config.max_chunk_age_s)
        self.measured: Pose | None = None
        self.state_ns = 0  # stamp of the newest joint states
        self.heard_s = time.monotonic()  # when they came
        self.sent: Command | None = None
        lifespan_s = self.config.period_s if self.timing.mode == "realtime" else None
        self.twist = self.config.interface == "delta_twist"
        kind, topic = (TwistStamped, topics.DELTA_TWIST) if self.twist else (PoseStamped, topics.TARGET_POSE)
        self.motion = self.create_publisher(kind, topic, qos.commands(lifespan_s))
        self.gripper = self.create_publisher(GripperCommand, topics.GRIPPER_COMMAND, qos.commands(lifespan_s))
        self.pace = PACES[self.timing.mode](self)
        self.create_subscription(
            JointState, topics.JOINT_STATES, self.on_joints, qos.states(), qos_overriding_options=qos.OVERRIDABLE
        )
        self.create_subscription(ActionChunk, topics.ACTION_CHUNK, self.pace.on_chunk, qos.CHUNKS)
        # The first hears every publisher, latched or not; the second also what was said before this node came. Twice is once.
        for quality in (qos.SCALES, qos.LATCHED):
            self.create_subscription(Float64, topics.SPEED_SCALE, self.on_speed_scale, quality)
        self.report("no chunk yet", OK)
        self.get_logger().info(f"ready: {self.timing.mode}, commands on {self.motion.topic_name}")

    def on_joints(self, msg: JointState) -> None:
        try:
            pose = self.kinematics.tool_pose(*messages.decode_joints(msg))
        except WorldAgenError as error:
            self.get_logger().warning(f"dropped a message of {topics.JOINT_STATES}: {error}", throttle_duration_sec=2.0)
            self.diagnostics.set("joint_states", ERROR, str(error))
            return
        self.diagnostics.set("joint_states", OK, "fresh")
        stamp_ns = messages.stamp_to_ns(msg.header.stamp)
        gap_s = (stamp_ns - self.state_ns) * 1e-9
        if self.measured is not None and not 0.0 <= gap_s <= self.config.max_state_age_s:
            self.release(f"the stamps of {topics.JOINT_STATES} jumped by {gap_s:.2f} s")
        self.measured, self.state_ns, self.heard_s = Pose.from_euler(pose), stamp_ns, time.monotonic()
        self.pace.on_state()

    def take_up(self, msg: ActionChunk, now_ns: int) -> None:
        """Offer a chunk to the Commander; a refused one makes the arm hold, and says so."""
        try:
            self.commander.offer(messages.decode_chunk(msg, self.robot.frame_id), now_ns)
            self.diagnostics.set("chunks", OK, f"chunk {msg.sequence} taken up")
        except BadChunk as error:
            self.commander.refuse_plan()
            self.get_logger().warning(f"refused a chunk, holding: {error}", throttle_duration_sec=1.0)
            self.diagnostics.set("chunks", ERROR, f"refused, holding: {error}")

    def on_speed_scale(self, msg: Float64) -> None:
        """Kept until somebody says otherwise, also when the one who said it is gone: an arm must not speed up by itself."""
        before = self.commander.speed_scale
        try:
            self.commander.scale_speed(msg.data)
        except BadCommand as error:
            self.get_logger().warning(f"refused: {error}", throttle_duration_sec=1.0)
            self.diagnostics.set("speed", ERROR, f"refused: {error}")
            return
        scale = self.commander.speed_scale
        if scale != before:
            self.get_logger().info(f"speed scale {scale:g}, was {before:g}")
        self.diagnostics.set("speed", WARN if scale < 1.0 else OK, f"speed scale {scale:g}")

    def send(self, command: Command, stamp_ns: int) -> None:
        frame_id, period_s = self.robot.frame_id, self.commander.period_s or self.config.period_s
        self.motion.publish(messages.encode_motion(command, self.twist, period_s, stamp_ns, frame_id))
        self.gripper.publish(messages.encode_gripper(command.opening, stamp_ns, frame_id))
        self.sent = command
        still = self.commander.state in (CommandState.HOLD, CommandState.STOPPED)
        self.report(self.commander.state.value, WARN if still else OK)

    def release(self, why: str) -> None:
        """The robot was lost or put elsewhere: what was commanded before no longer holds."""
        self.commander.release()
        self.pace.clear()
        self.measured = self.sent = None
        self.get_logger().warning(f"{why}: nothing is commanded until a new chunk comes")
        self.report(why, WARN)

    def report(self, detail: str, level: bytes) -> None:
        limited_by = ", ".join(self.sent.limited_by) if self.sent else ""
        text = f"{self.commander.state.name}: {detail}"
        self.diagnostics.set("command", level, text, {"limited_by": limited_by or "nothing"})


def main() -> None:
    run_node(CommandNode)
