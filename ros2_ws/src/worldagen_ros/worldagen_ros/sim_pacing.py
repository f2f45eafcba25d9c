"""When the simulator steps: in lockstep with the answers it gets, or in real time with the newest command."""

import time
from typing import TYPE_CHECKING

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.clock import Clock, ClockType

from worldagen_msgs.msg import ActionChunk, GripperCommand
from worldagen_ros import qos, topics
from worldagen_ros.messages import stamp_to_ns
from worldagen_sim.episode import Status
from worldagen_sim.lockstep import LockStep

if TYPE_CHECKING:
    from worldagen_ros.sim_node import SimNode

STEADY = Clock(clock_type=ClockType.STEADY_TIME)


class LockstepPace:
    """Publishes an observation, waits for its chunk, plays each row when its command comes. Makes the clock.

    The clock never runs back: every episode begins a pause after the last instant of the one before.
    """

    def __init__(self, node: "SimNode") -> None:
        self.node = node
        self.lockstep = LockStep()
        self.base_ns = 0  # stamp of the simulator's own time 0
        self.now_ns = 0
        self.awake_s = 0.0  # monotonic time of the newest progress
        node.create_subscription(ActionChunk, topics.ACTION_CHUNK, self.on_chunk, qos.CHUNKS)
        node.create_subscription(PoseStamped, topics.TARGET_POSE, self.on_motion, qos.commands(None))
        node.create_subscription(TwistStamped, topics.DELTA_TWIST, self.on_motion, qos.commands(None))
        node.create_subscription(GripperCommand, topics.GRIPPER_COMMAND, self.on_gripper, qos.commands(None))
        node.create_timer(node.timing.answer_timeout_s / 2, self.nudge, clock=STEADY)

    def begin(self, begin_at_ns: int) -> None:
        self.now_ns = max(begin_at_ns, self.now_ns + round(self.node.sim.reset_pause_s * 1e9))
        self.base_ns = self.now_ns - self.node.episodes.state.time_ns  # not 0 in a world that was kept
        self.observe()

    def observe(self) -> None:
        self.awake_s = time.monotonic()
        self.node.show(self.now_ns, with_pictures=True)
        self.lockstep.observed(self.now_ns)
        self.advance()

    def on_chunk(self, msg: ActionChunk) -> None:
        self.lockstep.offer_chunk(stamp_to_ns(msg.header.stamp), len(msg.rows))
        self.advance()

    def on_motion(self, msg: PoseStamped | TwistStamped) -> None:
        self.lockstep.offer_motion(stamp_to_ns(msg.header.stamp), msg)
        self.advance()

    def on_gripper(self, msg: GripperCommand) -> None:
        self.lockstep.offer_gripper(stamp_to_ns(msg.header.stamp), msg)
        self.advance()

    def advance(self) -> None:
        """Play one step if all it needs has come."""
        episodes = self.node.episodes
        command = self.lockstep.take() if episodes.status is Status.RUNNING else None
        if command is None or not self.node.step(command.motion, command.gripper):
            return
        self.awake_s = time.monotonic()
        self.now_ns = self.base_ns + episodes.state.time_ns
        if self.lockstep.stepped(self.now_ns) and episodes.status is Status.RUNNING:
            self.observe()
        else:
            self.node.show(self.now_ns, with_pictures=self.node.sim.every_picture)

    def nudge(self) -> None:
        """When no answer comes, say what is awaited and show the present instant again: it may have been lost."""
        running = self.node.episodes.status is Status.RUNNING
        if running and time.monotonic() - self.awake_s > self.node.timing.answer_timeout_s:
            self.node.get_logger().info(f"waiting for {self.lockstep.waits_for}", throttle_duration_sec=10.0)
            self.node.show(self.now_ns, with_pictures=self.lockstep.waits_for_chunk)


class LivePace:
    """Steps at the control period, whatever comes; the newest command is obeyed until a newer one comes."""

    def __init__(self, node: "SimNode") -> None:
        self.node = node
        self.motion: PoseStamped | TwistStamped | None = None
        self.gripper: GripperCommand | None = None
        self.silent_until_s, self.begun = 0.0, False
        period_s = node.period_s
        node.create_subscription(PoseStamped, topics.TARGET_POSE, self.on_motion, qos.commands(period_s))
        node.create_subscription(TwistStamped, topics.DELTA_TWIST, self.on_motion, qos.commands(period_s))
        node.create_subscription(GripperCommand, topics.GRIPPER_COMMAND, self.on_gripper, qos.commands(period_s))
        node.create_timer(period_s, self.advance, clock=STEADY)

    def begin(self, begin_at_ns: int) -> None:
        """Real time has its own clock; begin_at_ns is not for it."""
        self.motion = self.gripper = None
        self.silent_until_s, self.begun = time.monotonic() + self.node.sim.reset_pause_s, False

    # What comes before an episode's first instant is shown was meant for the last one. By the order in which things happen,
    # not by stamps: somebody may set the clock.

    def on_motion(self, msg: PoseStamped | TwistStamped) -> None:
        if self.begun:
            self.motion = msg

    def on_gripper(self, msg: GripperCommand) -> None:
        if self.begun:
            self.gripper = msg

    def advance(self) -> None:
        if time.monotonic() < self.silent_until_s:
            return
        if not self.begun:
            self.begun = True
            self.node.show(self.node.get_clock().now().nanoseconds, with_pictures=True)
            return
        motion, pose = self.motion, isinstance(self.motion, PoseStamped)
        self.motion = motion if pose else None  # a pose holds until a newer one; a velocity is for one period
        if self.node.step(motion, self.gripper):
            self.node.show(self.node.get_clock().now().nanoseconds, with_pictures=True)


PACES = {"lockstep": LockstepPace, "realtime": LivePace}
