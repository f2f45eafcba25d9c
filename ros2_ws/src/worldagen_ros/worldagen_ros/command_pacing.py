"""When the command node ticks: with the robot's joint states in lockstep, by a timer in real time."""

import time
from typing import TYPE_CHECKING

from rclpy.clock import Clock, ClockType

from worldagen.commanding import LockstepAnswers
from worldagen_msgs.msg import ActionChunk
from worldagen_ros.messages import stamp_to_ns

if TYPE_CHECKING:
    from worldagen_ros.command_node import CommandNode


class LockstepPace:
    """One command for each instant the simulator shows, a function of the very state it is stamped with."""

    def __init__(self, node: "CommandNode") -> None:
        self.node = node
        self.answers = LockstepAnswers()
        self.newest: ActionChunk | None = None  # may come before the joint states of its instant

    def clear(self) -> None:
        """The simulator began afresh: what it was owed before, it no longer waits for."""
        self.answers.clear()

    def on_chunk(self, msg: ActionChunk) -> None:
        self.newest = msg
        self.answers.offer(stamp_to_ns(msg.header.stamp), len(msg.rows))
        self.on_state()

    def on_state(self) -> None:
        node, now_ns = self.node, self.node.state_ns
        if node.measured is None:
            return
        if self.newest is not None and self.answers.begins(now_ns):
            node.take_up(self.newest, now_ns)
        if self.answers.due(now_ns):
            node.send(node.commander.tick(now_ns, node.measured) or node.commander.hold(node.measured), now_ns)
        elif node.sent is not None and self.answers.again(now_ns):
            node.send(node.sent, now_ns)  # shown again, so the answer was lost


class LivePace:
    """A timer at the row period; the first row of a chunk that ends a hold need not wait for it."""

    def __init__(self, node: "CommandNode") -> None:
        self.node = node
        self.timer = node.create_timer(node.config.period_s, self.tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def on_chunk(self, msg: ActionChunk) -> None:
        commander = self.node.commander
        idle = not commander.has_rows
        self.node.take_up(msg, self.node.get_clock().now().nanoseconds)
        if idle and commander.has_rows:
            self.timer.timer_period_ns = round(commander.period_s * 1e9)
            self.timer.reset()  # the next rows follow in step with this one
            self.tick()

    def clear(self) -> None:
        """Nothing is owed in real time."""

    def on_state(self) -> None:
        """Joint states wait for the next tick."""

    def tick(self) -> None:
        node, age_s = self.node, time.monotonic() - self.node.heard_s
        if node.measured is not None and age_s > node.config.max_state_age_s:
            node.release(f"no joint states for {age_s:.2f} s")
        now_ns = node.get_clock().now().nanoseconds
        command = node.commander.tick(now_ns, node.measured) if node.measured is not None else None
        if command is not None:
            node.send(command, now_ns)


PACES = {"lockstep": LockstepPace, "realtime": LivePace}
