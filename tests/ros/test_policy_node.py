"""The policy node answers fresh observations only, and lives through bad ones."""

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import FakeDecider, FakeRobot
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from worldagen.errors import BadObservation, WorldAgenError
from worldagen_msgs.action import ExecuteInstruction
from worldagen_msgs.msg import ActionChunk, PolicyStatus
from worldagen_msgs.srv import ResetPolicy
from worldagen_ros import messages, qos, topics
from worldagen_ros.policy_node import PolicyNode

Result = ExecuteInstruction.Result


class Listener(Node):
    """Hears everything a policy says."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.chunks: list[ActionChunk] = []
        self.levels: dict[str, list[int]] = {}
        self.texts: dict[str, str] = {}
        self.create_subscription(ActionChunk, topics.ACTION_CHUNK, self.chunks.append, qos.CHUNKS)
        self.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self.on_diagnostics, qos.DIAGNOSTICS)
        self.words = self.create_publisher(String, topics.INSTRUCTION, qos.LATCHED)
        self.client = ActionClient(self, ExecuteInstruction, topics.EXECUTE)

    def destroy_node(self) -> None:
        self.client.destroy()
        super().destroy_node()

    def on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            name = status.name.split(": ")[1]
            self.texts[name] = status.message
            levels = self.levels.setdefault(name, [])
            if levels[-1:] != [ord(status.level)]:
                levels.append(ord(status.level))


OK, WARN, ERROR = (ord(level) for level in (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR))


@pytest.fixture
def decider(monkeypatch) -> FakeDecider:
    made = FakeDecider()
    monkeypatch.setattr("worldagen_ros.policy_node.DECIDERS", {"network": lambda *_: made})
    return made


@pytest.fixture
def scene(start_ros, decider):
    """A robot at 10 Hz, slow enough to be judged on a busy machine: (graph, robot, policy, listener)."""
    graph = start_ros("-p", "policy.kind:=network", "-p", "timing.mode:=realtime", "-p", "cameras.period_s:=0.1")
    robot, policy, listener = graph.add(FakeRobot(period_s=0.1)), graph.add(PolicyNode()), graph.add(Listener())
    graph.wait(lambda: listener.levels.get("static_camera", [0])[-1] == OK and "joint_states" in listener.levels, "the cameras")
    graph.wait(listener.client.server_is_ready, "the action server")
    return graph, robot, policy, listener


def send(graph, listener, instruction: str, time_limit: float = 0.0):
    future = listener.client.send_goal_async(ExecuteInstruction.Goal(instruction=instruction, time_limit=time_limit))
    graph.wait(future.done, "an answer to the goal")
    return future.result()


def end_of(graph, goal):
    future = goal.get_result_async()
    graph.wait(future.done, "the end of the goal")
    return future.result()


def test_it_decides_nothing_until_it_is_told_to(scene):
    graph, _, _, listener = scene
    graph.spin_for(0.5)
    assert listener.chunks == []


def test_an_instruction_makes_it_answer_each_chunk_once(scene, decider):
    graph, _, _, listener = scene
    listener.words.publish(String(data="open the drawer"))
    graph.wait(lambda: len(listener.chunks) >= 3, "three chunks")
    stamps = [chunk.header.stamp.sec * 10**9 + chunk.header.stamp.nanosec for chunk in listener.chunks]
    assert decider.instructions == ["open the drawer"]
    assert stamps == decider.answered[: len(stamps)]
    assert np.all(np.diff(stamps) >= 5 / 30 * 1e9 * 0.85)  # one chunk of five rows apart, but for camera jitter
    listener.words.publish(String(data=""))
    graph.wait(lambda: not scene[2].loop.instruction, "the policy to stop")


def test_what_it_expects_is_published_only_while_somebody_looks(scene, decider):
    graph, _, policy, listener = scene
    listener.words.publish(String(data="open the drawer"))
    graph.wait(lambda: len(listener.chunks) >= 2, "two chunks")
    assert decider.predictions == 0
    expected: list[Image] = []
    subscription = listener.create_subscription(Image, topics.WRIST_PREDICTION, expected.append, qos.CHUNKS)
    graph.wait(lambda: expected, "an expected picture")
    ends = [chunk.header.stamp.sec * 10**9 + chunk.header.stamp.nanosec + round(5e9 / 30) for chunk in listener.chunks]
    assert messages.stamp_to_ns(expected[0].header.stamp) in ends  # the instant at which the chunk has been played
    listener.destroy_subscription(subscription)
    graph.wait(lambda: not policy.predictions.wanted, "the node to know that nobody looks")


def test_a_camera_that_stops_is_an_error_within_two_periods_and_its_return_is_announced(scene, decider):
    graph, robot, policy, listener = scene
    listener.words.publish(String(data="open the drawer"))
    graph.wait(lambda: listener.chunks, "a chunk")
    robot.silent.add("wrist_camera")
    begun = robot.get_clock().now().nanoseconds
    graph.wait(lambda: listener.levels["wrist_camera"][-1] == ERROR, "the error")
    waited_s = (robot.get_clock().now().nanoseconds - begun) * 1e-9
    assert waited_s < 2 * 0.1 + 0.1  # two periods since the last picture, and a little for this process to hear of it
    newest = len(decider.answered)
    graph.spin_for(0.5)
    assert len(decider.answered) <= newest + 1  # one may have been under way
    assert policy.told.state == PolicyStatus.WAITING and "wrist_camera" in policy.told.detail
    robot.silent.clear()
    graph.wait(lambda: listener.levels["wrist_camera"][-1] == OK, "the recovery")
    count = len(listener.chunks)
    graph.wait(lambda: len(listener.chunks) > count, "a chunk after the recovery")


def cut_data(msg):
    msg.data = msg.data[:-1]
    return msg


def wrong_encoding(msg):
    msg.encoding = "bayer_rggb16"
    return msg


def wrong_size(msg):
    msg.width = 6400
    return msg


@pytest.mark.parametrize(
    ("fault", "words"), [(cut_data, "9215 bytes"), (wrong_encoding, "bayer_rggb16"), (wrong_size, "6400x48")]
)
def test_a_broken_picture_is_dropped_and_named_and_the_node_lives(scene, decider, fault, words):
    graph, robot, _, listener = scene
    listener.words.publish(String(data="open the drawer"))
    robot.corrupt = fault
    graph.wait(lambda: words in listener.texts["static_camera"], "the fault in the diagnostics")
    assert listener.levels["static_camera"][-1] in (WARN, ERROR)
    robot.corrupt = lambda msg: msg
    count = len(listener.chunks)
    graph.wait(lambda: listener.levels["static_camera"][-1] == OK and len(listener.chunks) > count, "a chunk after the fault")


def test_a_goal_ends_with_its_time_limit_and_says_so(scene):
    graph, _, _, listener = scene
    ended = end_of(graph, send(graph, listener, "open the drawer", time_limit=0.6))
    assert ended.status == GoalStatus.STATUS_SUCCEEDED
    assert ended.result.reason == Result.TIME_LIMIT and "0.6 s" in ended.result.message
    assert ended.result.decisions >= 1 and 0.6 <= ended.result.elapsed < 2.0
    count = len(listener.chunks)
    graph.spin_for(0.4)
    assert len(listener.chunks) <= count + 1


def test_a_goal_can_be_cancelled(scene):
    graph, _, policy, listener = scene
    goal = send(graph, listener, "open the drawer")
    cancel = goal.cancel_goal_async()
    graph.wait(cancel.done, "the cancellation")
    ended = end_of(graph, goal)
    assert ended.status == GoalStatus.STATUS_CANCELED and ended.result.reason == Result.CANCELED
    assert policy.loop.instruction == ""


def test_a_second_goal_is_rejected_while_one_runs(scene):
    graph, _, _, listener = scene
    first = send(graph, listener, "open the drawer")
    assert first.accepted
    assert not send(graph, listener, "close the drawer").accepted
    assert not send(graph, listener, "  ").accepted


def test_a_reset_replaces_the_goal(scene):
    graph, _, policy, listener = scene
    goal = send(graph, listener, "open the drawer")
    client = listener.create_client(ResetPolicy, topics.RESET_POLICY)
    graph.wait(client.service_is_ready, "the service")
    answer = client.call_async(ResetPolicy.Request())
    graph.wait(answer.done, "the reset")
    assert answer.result().success and "open the drawer" in answer.result().message
    ended = end_of(graph, goal)
    assert ended.status == GoalStatus.STATUS_ABORTED and ended.result.reason == Result.REPLACED
    assert policy.loop.instruction == ""


def test_a_bad_observation_is_survived_and_another_fault_ends_the_goal(scene, decider, monkeypatch):
    graph, _, _, listener = scene
    errors = [BadObservation("the picture is black"), WorldAgenError("the weights are gone")]
    answer = decider.decide

    def decide(samples):
        if errors:
            raise errors.pop(0)
        return answer(samples)

    monkeypatch.setattr(decider, "decide", decide)
    ended = end_of(graph, send(graph, listener, "open the drawer"))
    assert ended.status == GoalStatus.STATUS_ABORTED and ended.result.reason == Result.FAULT
    assert ended.result.message == "the weights are gone"
    assert send(graph, listener, "open the drawer").accepted
    graph.wait(lambda: listener.chunks, "a chunk after the fault")


def test_a_late_listener_learns_the_status(scene):
    graph, _, policy, listener = scene
    listener.words.publish(String(data="open the drawer"))
    graph.wait(lambda: policy.loop.decisions >= 1, "a decision")
    late, heard = graph.add(Node("late")), []
    late.create_subscription(PolicyStatus, topics.POLICY_STATUS, heard.append, qos.LATCHED)
    graph.wait(lambda: heard, "the latched status")
    assert heard[0].instruction == "open the drawer" and heard[0].policy == "fake"


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_drivers_of_either_reliability_are_heard(start_ros, decider, reliability):
    graph = start_ros("-p", "policy.kind:=network", "-p", "timing.mode:=realtime", "-p", "cameras.period_s:=0.1")
    graph.add(FakeRobot(period_s=0.1, picture_qos=QoSProfile(depth=2, reliability=reliability)))
    policy = graph.add(PolicyNode())
    graph.wait(lambda: policy.inputs.newest() is not None, "a complete observation")
    assert not policy.inputs.missing
