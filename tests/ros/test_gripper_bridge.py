"""Openings become goals of a gripper's action server: one at a time, no fluttering; a refusal where its messages are not."""

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from rclpy.parameter import Parameter

from worldagen.errors import ConfigError
from worldagen_msgs.msg import GripperCommand
from worldagen_ros.gripper_bridge import LONGEST_GOAL_S, GripperBridge, GripperGoals, load_actions

SECOND_NS = 1_000_000_000


class Goal:
    """Takes any field, as a message of another package would take its own."""

    def __init__(self, **values: Any) -> None:
        self.epsilon, self.command = SimpleNamespace(), SimpleNamespace()
        vars(self).update(values)


ACTIONS = SimpleNamespace(
    Move=SimpleNamespace(Goal=Goal), Grasp=SimpleNamespace(Goal=Goal), GripperCommand=SimpleNamespace(Goal=Goal)
)


class Future:
    def __init__(self) -> None:
        self.callbacks: list[Any] = []
        self.value: Any = None

    def add_done_callback(self, callback: Any) -> None:
        self.callbacks.append(callback)

    def result(self) -> Any:
        return self.value

    def finish(self, value: Any) -> None:
        self.value = value
        for callback in self.callbacks:
            callback(self)


class Server:
    """An action server's side: goals that were sent, and whether it is there."""

    def __init__(self) -> None:
        self.ready, self.sent = True, []

    def client(self, node: Any, kind: Any, name: str) -> SimpleNamespace:
        def send(goal: Goal) -> Future:
            self.sent.append((name, goal, Future()))
            return self.sent[-1][2]

        return SimpleNamespace(server_is_ready=lambda: self.ready, send_goal_async=send)

    def end(self, **result: Any) -> None:
        """The newest goal is accepted and ends like this."""
        ending = Future()
        self.sent[-1][2].finish(SimpleNamespace(accepted=True, get_result_async=lambda: ending))
        ending.finish(SimpleNamespace(result=SimpleNamespace(**result)))

    @property
    def asked(self) -> list[str]:
        return [name.rsplit("/", 1)[-1] for name, _, _ in self.sent]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """A steady clock that stands until a test moves it."""
    now = SimpleNamespace(ns=SECOND_NS)
    monkeypatch.setattr("worldagen_ros.gripper_bridge.time", SimpleNamespace(monotonic_ns=lambda: now.ns))
    return now


@pytest.fixture
def bridge(start_ros, server, clock) -> GripperBridge:
    return start_ros().add(GripperBridge(ACTIONS, server.client))


def say(bridge: GripperBridge, clock: SimpleNamespace, *openings: float) -> None:
    for opening in openings:
        clock.ns += SECOND_NS // 30
        bridge.on_command(GripperCommand(opening=opening))


def test_a_wish_is_asked_for_once(bridge, server, clock):
    say(bridge, clock, *[1.0] * 20)
    server.end(success=True)
    say(bridge, clock, *[1.0] * 20)
    assert server.asked == ["move"]
    say(bridge, clock, *[0.0] * 20)
    assert server.asked == ["move", "grasp"]
    grasp = server.sent[1][1]
    assert (grasp.width, grasp.force) == (0.0, 20.0)
    assert grasp.epsilon.inner == grasp.epsilon.outer == 0.078  # whatever it holds, or nothing: the grasp succeeds


def test_a_wish_that_flutters_is_no_wish(bridge, server, clock):
    say(bridge, clock, 1.0)
    server.end(success=True)
    say(bridge, clock, *[0.45, 0.55] * 30)
    assert server.asked == ["move"]


def test_nothing_is_asked_while_a_goal_runs_and_the_last_wish_counts_afterwards(bridge, server, clock):
    say(bridge, clock, 1.0)
    say(bridge, clock, *[0.0] * 20)
    assert server.asked == ["move"]
    server.end(success=True)
    say(bridge, clock, 0.0)
    assert server.asked == ["move", "grasp"]


def test_a_goal_that_fails_is_not_repeated_until_the_wish_changes(bridge, server, clock):
    say(bridge, clock, 1.0)
    server.end(success=False, error="the hand is not homed")
    say(bridge, clock, *[1.0] * 30)
    assert server.asked == ["move"]
    say(bridge, clock, *[0.0] * 30)
    assert server.asked == ["move", "grasp"]


def test_a_refused_goal_is_not_repeated_either(bridge, server, clock):
    say(bridge, clock, 1.0)
    server.sent[-1][2].finish(SimpleNamespace(accepted=False))
    say(bridge, clock, *[1.0] * 30)
    assert server.asked == ["move"]


def test_a_server_that_comes_later_is_asked_then(bridge, server, clock):
    server.ready = False
    say(bridge, clock, *[1.0] * 5)
    assert server.asked == []
    server.ready = True
    say(bridge, clock, 1.0)
    assert server.asked == ["move"]


def test_an_opening_that_is_none_is_refused(bridge, server, clock):
    say(bridge, clock, float("nan"), 2.0)
    assert server.asked == []


def test_the_generic_command_has_the_position_of_one_finger(start_ros, server, clock):
    kind = [Parameter("kind", value="control_msgs")]
    bridge = start_ros().add(GripperBridge(ACTIONS, server.client, parameter_overrides=kind))
    say(bridge, clock, 1.0)
    assert server.asked == ["gripper_action"]
    assert vars(server.sent[0][1].command) == {"position": 0.039, "max_effort": 20.0}


def test_a_server_that_died_in_the_middle_is_given_up():
    goals = GripperGoals()
    assert goals.due(1.0, 0) == 1.0
    goals.begun(1.0, 0)
    assert goals.due(0.0, round((LONGEST_GOAL_S - 1) * 1e9)) is None
    assert goals.due(0.0, round((LONGEST_GOAL_S + 1) * 1e9)) == 0.0


def test_what_is_not_there_is_refused_in_words(start_ros):
    with pytest.raises(ConfigError, match="kind is 'robotiq'; choose one of: franka, control_msgs"):
        load_actions("robotiq")
    start_ros()
    with pytest.raises(ConfigError, match=r"force_n is -1\.0; expected a positive number"):
        GripperBridge(ACTIONS, parameter_overrides=[Parameter("force_n", value=-1.0)])


def test_without_the_grippers_messages_it_refuses_in_words(environment):
    pytest.importorskip("worldagen_ros")
    try:
        import franka_msgs  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        pass
    else:
        pytest.skip("franka_msgs is here")
    command = [sys.executable, "-m", "worldagen_ros.gripper_bridge"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: kind franka needs the package franka_msgs, which cannot be imported")
