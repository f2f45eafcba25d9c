"""Manager node: brings the stack up in order, watches its heartbeats, takes it down in reverse order.

All nodes are configured at once, for that is what takes long; then they are activated one after the other, each when the one
before is active. When a node refuses or is silent for too long, or when the manager is asked to end, they are deactivated in
reverse order, so the policy before the command node and that before the simulator, and the manager ends.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from worldagen.errors import WorldAgenError
from worldagen_msgs.msg import Heartbeat, StackStatus
from worldagen_ros import qos, topics
from worldagen_ros.acquaintance import Acquaintance
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.params import read_tree
from worldagen_ros.specs import SECTIONS, managed_of

TICK_S = 0.05
LOCKSTEP_PATIENCE = 15  # times the heartbeat's timeout: there a reset may take long, and nothing moves meanwhile
ASKED = "asked to end"
FAREWELL_S = 2.0  # for one node to be taken down

Story = Iterator[None]


class Failed(Exception):
    """A node refused, or is not there."""


class ManagerNode(Node):
    """The story of a stack's life is told by generators that yield while they wait; a timer goes on with them."""

    def __init__(self) -> None:
        super().__init__("manager", automatically_declare_parameters_from_overrides=True)
        deployment = read_tree(self, DeploymentConfig(), SECTIONS)
        self.config = deployment.manager
        self.timeout_s = self.config.heartbeat_timeout_s * (LOCKSTEP_PATIENCE if deployment.timing.mode == "lockstep" else 1)
        self.names = tuple(spec.name for spec in managed_of(deployment))
        self.active: list[str] = []  # in the order in which they became so
        self.heard_s: dict[str, float] = {}
        self.watched_s = time.monotonic()  # when they were looked at last
        self.failure = ""
        self.over = False
        self.status = self.create_publisher(StackStatus, topics.STACK_STATUS, qos.LATCHED)
        self.create_subscription(Heartbeat, topics.HEARTBEATS, self.on_heartbeat, qos.HEARTBEATS)
        self.change = {name: self.create_client(ChangeState, f"{name}/change_state") for name in self.names}
        self.acquaintances = {name: Acquaintance(self, name) for name in self.names}  # made last, on purpose
        self.telling: Story = self.bring_up()
        self.create_timer(TICK_S, self.tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def tick(self) -> None:
        try:
            next(self.telling)
        except StopIteration:
            self.over = True
        except Failed as failed:
            self.fail(str(failed))

    def fail(self, why: str) -> None:
        """From here on the stack is taken down."""
        if self.failure:
            return
        self.failure = why
        self.get_logger().error(f"{why}; taking the stack down")
        self.telling = self.take_down()

    def ask_to_end(self) -> None:
        """Take the stack down, if nobody does yet. May be called from a signal handler."""
        if not self.failure:
            self.failure, self.telling = ASKED, self.take_down()

    # -- the story ---------------------------------------------------------------------------------------------------------

    def bring_up(self) -> Story:
        """From processes to an active stack, then watch it. Raises Failed."""
        self.tell(StackStatus.STARTING, f"waiting for {', '.join(self.names)}")
        for name, acquaintance in self.acquaintances.items():
            yield from self.until(acquaintance.made, f"{name} does not answer")
        self.tell(StackStatus.STARTING, "configuring")
        asked = {name: self.ask(name, Transition.TRANSITION_CONFIGURE) for name in self.names}
        for name, answer in asked.items():
            yield from self.until(answer.done, f"{name} is not configured")
            if not answer.result().success:
                raise Failed(f"{name} refused to be configured: see what it said")
        for name in self.names:
            answer = self.ask(name, Transition.TRANSITION_ACTIVATE)
            yield from self.until(answer.done, f"{name} is not active")
            if not answer.result().success:
                raise Failed(f"{name} refused to be activated: see what it said")
            self.active.append(name)
        self.heard_s = dict.fromkeys(self.names, time.monotonic())
        self.tell(StackStatus.ACTIVE, f"active: {', '.join(self.names)}")
        self.get_logger().info(f"active: {', '.join(self.names)}")
        while True:
            self.watch()
            yield

    def watch(self) -> None:
        """Raises Failed for a node that is silent, or that somebody else made inactive."""
        now_s = time.monotonic()
        if now_s - self.watched_s > self.timeout_s / 2:  # we slept ourselves: what they said meanwhile is yet to be read
            self.heard_s = dict.fromkeys(self.heard_s, now_s)
        self.watched_s = now_s
        for name, heard_s in self.heard_s.items():
            if self.is_silent(name):
                raise Failed(f"{name} is silent for {now_s - heard_s:.1f} s")

    def is_silent(self, name: str) -> bool:
        """Whether an active node's heartbeat has stopped."""
        now_s = time.monotonic()
        return now_s - self.heard_s.get(name, now_s) > self.timeout_s

    def take_down(self) -> Story:
        """Deactivate in reverse order, then clean up; whoever does not answer is left to the one who ends the processes."""
        self.tell(StackStatus.STOPPING if self.failure == ASKED else StackStatus.FAILED, self.failure)
        # Who is silent comes last: the others need not wait for it, and an arm may be moving.
        silent = [name for name in self.active if self.is_silent(name)]
        order = [*(name for name in reversed(self.active) if name not in silent), *reversed(silent)]
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            for name in order:
                yield from self.dismiss(name, transition)

    def dismiss(self, name: str, transition: int) -> Story:
        if not self.change[name].service_is_ready():
            return
        answer, until_s = self.ask(name, transition), time.monotonic() + FAREWELL_S
        while not answer.done() and time.monotonic() < until_s:
            yield
        if not answer.done():
            self.get_logger().warning(f"{name} did not answer within {FAREWELL_S:g} s")

    # -- small things ------------------------------------------------------------------------------------------------------

    def ask(self, name: str, transition: int) -> Any:
        """The answer to come to a wish for a transition."""
        return self.change[name].call_async(ChangeState.Request(transition=Transition(id=transition)))

    def until(self, condition: Callable[[], bool], what: str) -> Story:
        deadline_s = time.monotonic() + self.config.bring_up_timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise Failed(f"{what} after {self.config.bring_up_timeout_s:g} s")
            yield

    def on_heartbeat(self, msg: Heartbeat) -> None:
        if msg.node not in self.heard_s:
            return
        self.heard_s[msg.node] = time.monotonic()
        if msg.state != State.PRIMARY_STATE_ACTIVE:
            self.fail(f"{msg.node} is no longer active")

    def tell(self, state: int, detail: str) -> None:
        msg = StackStatus(state=state, detail=detail)
        msg.header.stamp = Clock(clock_type=ClockType.SYSTEM_TIME).now().to_msg()
        self.status.publish(msg)


def main() -> None:
    # Not rclpy's own handlers: they end the communication that is needed to take the others down.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    executor, node, code = SingleThreadedExecutor(), None, 1
    try:
        node = ManagerNode()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: node.ask_to_end())
        executor.add_node(node)
        while not node.over:
            executor.spin_once(timeout_sec=0.2)
        code = 0 if node.failure == ASKED else 1
    except WorldAgenError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
    finally:
        executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
