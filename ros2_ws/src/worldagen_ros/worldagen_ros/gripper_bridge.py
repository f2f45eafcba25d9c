"""Gripper bridge: our gripper_command in, goals of a gripper's action server out. Run where the gripper's messages are:

    python3 -m worldagen_ros.gripper_bridge --ros-args -p kind:=franka

kind franka: franka_gripper's actions Move (to open) and Grasp (to close), from franka_msgs. kind control_msgs: the generic
GripperCommand from control_msgs. Neither is among our own packages: without them it refuses in words.
"""

import importlib
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from worldagen.errors import BadCommand, ConfigError, WorldAgenError
from worldagen.gripper import OPEN, BinaryGripper
from worldagen_msgs.msg import GripperCommand
from worldagen_ros import messages, qos, topics

LONGEST_GOAL_S = 10.0  # an action server that has said nothing for so long is taken to be gone, and may be asked again


@dataclass(frozen=True)
class BridgeConfig:
    """open_m: width of the open gripper, m, less than the hand's own maximum, which differs a little from hand to hand;
    speed_mps: of its fingers; force_n: with which it closes, N."""

    kind: str = "franka"
    open_m: float = 0.078
    speed_mps: float = 0.1
    force_n: float = 20.0


class GripperGoals:
    """When the next goal is due: openings that flutter are one wish, and nothing new is asked while a goal runs.

    Times are nanoseconds of a steady clock. A goal that fails is not repeated until the wish changes.
    """

    def __init__(self) -> None:
        self._binary = BinaryGripper()
        self._asked: float | None = None
        self._busy_since_ns: int | None = None

    def due(self, opening: float, now_ns: int) -> float | None:
        """The opening, 0.0 or 1.0, to ask for now; None when there is nothing to ask."""
        decided = self._binary.decide(opening, now_ns)
        if self._busy_since_ns is not None and now_ns - self._busy_since_ns < LONGEST_GOAL_S * 1e9:
            return None
        return None if decided == self._asked else decided

    def begun(self, opening: float, now_ns: int) -> None:
        """That opening was asked for."""
        self._asked, self._busy_since_ns = opening, now_ns

    def ended(self) -> None:
        """The goal has ended, well or not."""
        self._busy_since_ns = None


def load_actions(kind: str) -> Any:
    """The module of action types of a kind. Raises ConfigError for an unknown kind or a package that is not installed."""
    packages = {"franka": "franka_msgs", "control_msgs": "control_msgs"}
    if kind not in packages:
        raise ConfigError(f"kind is {kind!r}; choose one of: {', '.join(packages)}")
    try:
        return importlib.import_module(f"{packages[kind]}.action")
    except ImportError as error:
        raise ConfigError(
            f"kind {kind} needs the package {packages[kind]}, which cannot be imported ({error}); "
            "source the workspace that has it" + (", or take kind control_msgs" if kind == "franka" else "")
        ) from error


def franka_goals(actions: Any, config: BridgeConfig) -> dict[float, tuple[str, Any, Any]]:
    """Opening -> action's name, type and goal. Closing succeeds on whatever width it ends at, on something or on nothing."""
    closed = actions.Grasp.Goal(width=0.0, speed=config.speed_mps, force=config.force_n)
    closed.epsilon.inner = closed.epsilon.outer = config.open_m
    opened = actions.Move.Goal(width=config.open_m, speed=config.speed_mps)
    return {
        0.0: ("franka_gripper/grasp", actions.Grasp, closed),
        OPEN: ("franka_gripper/move", actions.Move, opened),
    }


def generic_goals(actions: Any, config: BridgeConfig) -> dict[float, tuple[str, Any, Any]]:
    """Opening -> action's name, type and goal. The position is that of one finger: half the width."""
    goals = {}
    for opening in (0.0, OPEN):
        goal = actions.GripperCommand.Goal()
        goal.command.position, goal.command.max_effort = opening * config.open_m / 2, config.force_n
        goals[opening] = ("gripper_action", actions.GripperCommand, goal)
    return goals


class GripperBridge(Node):
    """Hears wishes, sends goals, tells how they ended."""

    def __init__(self, actions: Any = None, make_client: Callable[..., Any] = ActionClient, **options: Any) -> None:
        """actions, make_client: for tests. Raises ConfigError for a kind that is not there, or numbers that cannot be."""
        super().__init__("gripper_bridge", **options)
        given = BridgeConfig()
        values = {name: self.declare_parameter(name, default).value for name, default in vars(given).items()}
        self.config = BridgeConfig(**values)
        for name in ("open_m", "speed_mps", "force_n"):
            if not 0.0 < values[name] <= {"open_m": 0.2, "speed_mps": 0.5, "force_n": 140.0}[name]:
                raise ConfigError(f"{name} is {values[name]}; expected a positive number that a gripper can do")
        actions = load_actions(self.config.kind) if actions is None else actions
        self._plans = (franka_goals if self.config.kind == "franka" else generic_goals)(actions, self.config)
        self._clients_by_name = {name: make_client(self, kind, name) for name, kind, _ in self._plans.values()}
        self.goals = GripperGoals()
        self.create_subscription(GripperCommand, topics.GRIPPER_COMMAND, self.on_command, qos.commands(None))
        self.get_logger().info(f"ready: {self.config.kind}, goals on {', '.join(self._clients_by_name)}")

    def on_command(self, msg: GripperCommand) -> None:
        try:
            opening = messages.decode_gripper(msg)
        except BadCommand as error:
            self.get_logger().warning(f"refused: {error}", throttle_duration_sec=1.0)
            return
        due = self.goals.due(opening, time.monotonic_ns())
        if due is None:
            return
        name, _, goal = self._plans[due]
        client = self._clients_by_name[name]
        if not client.server_is_ready():
            self.get_logger().warning(f"no action server at {name}: is the gripper's node up?", throttle_duration_sec=5.0)
            return
        self.goals.begun(due, time.monotonic_ns())
        client.send_goal_async(goal).add_done_callback(lambda sent: self._on_sent(name, sent.result()))

    def _on_sent(self, name: str, handle: Any) -> None:
        if handle is None or not handle.accepted:
            self.get_logger().error(f"{name} refused the goal; it is not asked again until the wish changes")
            self.goals.ended()
            return
        handle.get_result_async().add_done_callback(lambda done: self._on_ended(name, done.result().result))

    def _on_ended(self, name: str, result: Any) -> None:
        self.goals.ended()
        done = getattr(result, "success", False) or getattr(result, "reached_goal", False) or getattr(result, "stalled", False)
        if not done:
            why = getattr(result, "error", "") or "the goal was not reached"
            self.get_logger().error(f"{name}: {why}; it is not asked again until the wish changes")


def main() -> None:
    signal.signal(signal.SIGINT, lambda *_: None)  # rclpy's own handler ends the spinning
    rclpy.init()
    code = 0
    try:
        rclpy.spin(GripperBridge())
    except ExternalShutdownException:
        pass
    except WorldAgenError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 1
    finally:
        rclpy.try_shutdown()
    sys.exit(code)


if __name__ == "__main__":
    main()
