"""Command node: chunks in, limited commands out. It imports no torch and outlives the policy.

When it ticks, and what decides then, is the business of its pace: in lockstep one command per row, with the joint states
(lockstep_command.py); in real time a continuous pose at command.rate_hz (live_command.py). Nothing is commanded before a chunk
has come; when chunks stop, the arm holds.
"""

from sensor_msgs.msg import JointState
from std_msgs.msg import Float64

from worldagen.errors import BadCommand, WorldAgenError
from worldagen.poses import Pose
from worldagen_msgs.msg import ActionChunk, CommandStatus
from worldagen_ros import messages, qos, topics
from worldagen_ros.diagnostics import ERROR, OK, WARN
from worldagen_ros.latency_watch import LatencyWatch
from worldagen_ros.live_command import LivePace
from worldagen_ros.lockstep_command import LockstepPace
from worldagen_ros.managed import ManagedNode
from worldagen_ros.robots import kinematics_of
from worldagen_ros.runtime import run_node

PACES = {"lockstep": LockstepPace, "realtime": LivePace}
LEVELS = {
    CommandStatus.DISABLED: OK,
    CommandStatus.READY: OK,
    CommandStatus.RUNNING: OK,
    CommandStatus.HOLD: WARN,
    CommandStatus.FAULT: ERROR,
}


class CommandNode(ManagedNode):
    """Decodes for its pace, and tells how it goes."""

    sections = ("timing", "robot", "command")

    def __init__(self) -> None:
        super().__init__("command")

    def configure(self) -> None:
        self.timing, self.robot, self.config = self.read()
        self.kinematics = kinematics_of(self.robot)

    def activate(self) -> None:
        self.told = CommandStatus()
        self.status = self.create_publisher(CommandStatus, topics.COMMAND_STATUS, qos.LATCHED)
        self.latency = LatencyWatch(self, self.timing.mode == "realtime")
        self.pace: LockstepPace | LivePace = PACES[self.timing.mode](self)
        self.create_subscription(
            JointState, topics.JOINT_STATES, self.on_joints, qos.states(), qos_overriding_options=qos.OVERRIDABLE
        )
        self.create_subscription(
            ActionChunk, topics.ACTION_CHUNK, self.pace.on_chunk, qos.CHUNKS, event_callbacks=qos.NO_EVENTS
        )
        # The first hears every publisher, latched or not; the second also what was said before this node came. Twice is once.
        for quality in (qos.SCALES, qos.LATCHED):
            self.create_subscription(Float64, topics.SPEED_SCALE, self.on_speed_scale, quality, event_callbacks=qos.NO_EVENTS)
        self.get_logger().info(f"ready: {self.timing.mode}, commands on {self.pace.outputs.motion.topic_name}")

    def deactivate(self) -> None:
        """The last message on the wire is a safe one."""
        self.pace.finish()

    def on_joints(self, msg: JointState) -> None:
        try:
            names, positions = messages.decode_joints(msg)
            pose = Pose.from_euler(self.kinematics.tool_pose(names, positions))
        except WorldAgenError as error:
            self.get_logger().warning(f"dropped a message of {topics.JOINT_STATES}: {error}", throttle_duration_sec=2.0)
            self.diagnostics.set("joint_states", ERROR, str(error))
            self.pace.on_bad_state()
            return
        if problem := self.pace.on_state(messages.stamp_to_ns(msg.header.stamp), pose, (names, positions)):
            self.get_logger().warning(f"dropped a message of {topics.JOINT_STATES}: {problem}", throttle_duration_sec=2.0)
            self.diagnostics.set("joint_states", ERROR, problem)
        else:
            self.diagnostics.set("joint_states", OK, "fresh")

    def refused(self, error: WorldAgenError) -> None:
        """A chunk was refused; the pace holds."""
        self.latency.dropped()
        self.get_logger().warning(f"refused a chunk, holding: {error}", throttle_duration_sec=5.0)
        self.diagnostics.set("chunks", ERROR, f"refused, holding: {error}")

    def on_speed_scale(self, msg: Float64) -> None:
        """Kept until somebody says otherwise, also when the one who said it is gone: an arm must not speed up by itself."""
        commander = self.pace.commander
        before = commander.speed_scale
        try:
            commander.scale_speed(msg.data)
        except BadCommand as error:
            self.get_logger().warning(f"refused: {error}", throttle_duration_sec=1.0)
            self.diagnostics.set("speed", ERROR, f"refused: {error}")
            return
        scale = commander.speed_scale
        if scale != before:
            self.get_logger().info(f"speed scale {scale:g}, was {before:g}")
        self.diagnostics.set("speed", WARN if scale < 1.0 else OK, f"speed scale {scale:g}")

    def tell(self, status: CommandStatus, now_ns: int) -> None:
        """Publish a status, note it in the diagnostics, and log a change that a person should know of."""
        status.header = messages.header(now_ns, self.robot.frame_id)
        self.status.publish(status)
        limited = ", ".join(status.limited_by) or "nothing"
        state = messages.COMMAND_STATES[status.state]
        values = {"limited_by": limited, "rate_hz": f"{status.rate:.1f}", "missed_ticks": status.missed_ticks}
        values |= {"jitter_p99_ms": f"{status.jitter_p99 * 1e3:.2f}", "jitter_max_ms": f"{status.jitter_max * 1e3:.2f}"}
        self.diagnostics.set("command", LEVELS[status.state], f"{state}: {status.reason}", values)
        if status.state != self.told.state and CommandStatus.FAULT in (status.state, self.told.state):
            if status.state == CommandStatus.FAULT:
                self.get_logger().error(f"FAULT: {status.reason}; when it is safe: ros2 service call {topics.CLEAR_FAULT}")
            else:
                self.get_logger().info(f"the fault was cleared: {state}")
        self.told = status


def main() -> None:
    run_node(CommandNode)
