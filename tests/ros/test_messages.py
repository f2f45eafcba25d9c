"""Every interface is real: it is what the sources say, and it crosses DDS between two processes unchanged."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from echo import kinds
from filling import fill
from rcl_interfaces.srv import GetParameters
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Empty

import worldagen_msgs.action
import worldagen_msgs.msg
import worldagen_msgs.srv
from worldagen.types import ActionChunk
from worldagen_ros import messages, qos
from worldagen_ros.images import decode_image, encode_image
from worldagen_ros.specs import PICTURES_PROFILE
from worldagen_ros.stack import stack_environment

SOURCES = sorted((Path(__file__).parents[2] / "ros2_ws/src/worldagen_msgs").glob("*/*.*"))


@pytest.fixture
def other_process(environment):
    """Start a Python program of this folder; it ends with the test."""
    running = []

    def start(program: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, str(Path(__file__).parent / program), *arguments]
        running.append(subprocess.Popen(command, env=environment))
        return running[-1]

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=40)  # it has all the interfaces' participants to take down, on a machine that may be busy


def fields_in(text: str) -> list[str]:
    """Names of the fields of one part of an interface file, in order; constants are none."""
    code = [line.partition("#")[0].split() for line in text.splitlines()]
    return [words[1] for words in code if len(words) == 2 and "=" not in words[1]]


def built_parts(kind: type) -> list[type]:
    """The messages that one interface file makes, in its order."""
    names = {"srv": ("Request", "Response"), "action": ("Goal", "Result", "Feedback")}.get(kind.__module__.split(".")[1], ())
    return [getattr(kind, name) for name in names] or [kind]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_built_interface_is_the_one_in_the_sources(source):
    kind = getattr(getattr(worldagen_msgs, source.parent.name), source.stem)
    for part, text in zip(built_parts(kind), source.read_text().split("\n---\n"), strict=True):
        built = list(part.get_fields_and_field_types())
        assert [name for name in built if not name.startswith("structure_needs")] == fields_in(text), "run scripts/setup"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_field_says_what_it_means(source):
    for line in source.read_text().splitlines():
        field = line.partition("#")[0].strip()
        if field and field != "---" and "=" not in field:  # constants are told by the field that takes them
            assert "#" in line, f"{source.name}: {line!r} has no comment"


def test_every_type_crosses_between_two_processes(start_ros, other_process):
    graph = start_ros()
    other_process("echo.py")
    node, back, feedback = graph.add(Node("asker")), {}, {}
    there = {kind: node.create_publisher(kind, f"there/{kind.__name__}", 1) for kind in kinds(worldagen_msgs.msg)}
    for kind in there:
        node.create_subscription(kind, f"back/{kind.__name__}", partial(back.setdefault, kind), 1)
    services = {kind: node.create_client(kind, kind.__name__) for kind in kinds(worldagen_msgs.srv)}
    actions = {kind: ActionClient(node, kind, kind.__name__) for kind in kinds(worldagen_msgs.action)}
    feedback_heard = node.create_publisher(Empty, "feedback_heard", 1)
    wait_until_known(graph, node, "echo")

    for kind, publisher in there.items():
        sent = fill(kind())
        publisher.publish(sent)
        graph.wait(partial(back.get, kind), f"{kind.__name__} to come back")
        assert back[kind] == sent
    for kind, client in services.items():
        answer = client.call_async(fill(kind.Request()))
        graph.wait(answer.done, f"an answer of {kind.__name__}")
        assert answer.result() == fill(kind.Response())
    for kind, client in actions.items():
        goal = client.send_goal_async(fill(kind.Goal()), feedback_callback=partial(feedback.setdefault, kind))
        graph.wait(goal.done, f"{kind.__name__} to be accepted")
        graph.wait(partial(feedback.get, kind), f"feedback of {kind.__name__}")
        assert feedback[kind].feedback == fill(kind.Feedback())
        feedback_heard.publish(Empty())
        result = goal.result().get_result_async()
        graph.wait(result.done, f"the result of {kind.__name__}")
        assert result.result().result == fill(kind.Result())
        client.destroy()


def wait_until_known(graph, node: Node, other: str) -> None:
    """Until the other node has discovered all that this one has: it answers the client that was made last."""
    ping, answers = node.create_client(GetParameters, f"{other}/get_parameters"), []
    node.create_timer(0.5, lambda: answers.append(ping.call_async(GetParameters.Request())))
    graph.wait(lambda: any(answer.done() for answer in answers), f"an answer of {other}", patience_s=40.0)


def test_large_images_survive_best_effort_between_two_processes(start_ros, other_process, environment, monkeypatch):
    """Fails when the Fast DDS profile is not in force: the default shared-memory segment loses nearly all of these."""
    for name, value in stack_environment(environment, profile=PICTURES_PROFILE).items():
        environment[name] = value
        monkeypatch.setenv(name, value)
    graph = start_ros()
    other_process("camera.py", "640", "480", "30")
    node, received = graph.add(Node("viewer")), []
    quality = QoSProfile(depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
    node.create_subscription(Image, "picture", received.append, quality)
    start = node.create_publisher(Image, "start", qos.LATCHED)
    graph.wait(lambda: node.count_publishers("picture") and start.get_subscription_count(), "the camera")
    start.publish(Image())
    graph.wait(lambda: len(received) == 30, "30 images of 640x480", patience_s=10.0)
    for number, msg in enumerate(received):
        assert np.all(decode_image(msg) == number)


def test_a_chunk_comes_back_from_its_message_unchanged():
    rows = np.random.default_rng(0).normal(size=(5, 7))
    chunk = ActionChunk(1_234_567_890_123, 7, 1 / 30, "calvin", rows, adapter="kitchen", inference_s=0.04)
    back = messages.decode_chunk(messages.encode_chunk(chunk, "world"), "world")
    assert np.array_equal(back.rows, chunk.rows)
    assert (back.stamp_ns, back.sequence, back.adapter, back.convention) == (chunk.stamp_ns, 7, "kitchen", "calvin")
    assert back.period_s == pytest.approx(chunk.period_s, abs=1e-9)


def test_a_twist_and_a_pose_ask_for_the_same_motion():
    from worldagen.poses import Pose

    start = Pose.from_euler(np.array([0.1, 0.2, 0.3, 3.0, 0.1, -0.5]))
    motion = np.array([0.01, -0.02, 0.005, 0.02, 0.01, -0.03])
    pose = messages.encode_pose(start.moved(motion), 0, "world")
    twist = messages.encode_twist(motion, 1 / 30, 0, "world")
    for msg in (pose, twist):
        assert messages.decode_motion(msg, start, 1 / 30) == pytest.approx(motion, abs=1e-12)


def test_pictures_come_back_unchanged_and_without_a_copy():
    picture = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    msg = encode_image(picture, Image())
    decoded = decode_image(msg)
    assert np.array_equal(decoded, picture)
    assert np.shares_memory(decoded, np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize(
    ("encoding", "channels", "order"),
    [("bgr8", 3, (2, 1, 0)), ("rgba8", 4, (0, 1, 2)), ("bgra8", 4, (2, 1, 0)), ("mono8", 1, (0, 0, 0))],
)
def test_common_encodings_become_rgb_padding_included(encoding, channels, order):
    padded = np.random.default_rng(0).integers(0, 255, (3, 5 * channels + 2), np.uint8)
    msg = Image(height=3, width=5, step=5 * channels + 2, encoding=encoding)
    msg.data.frombytes(padded.tobytes())
    pixels = padded[:, :-2].reshape(3, 5, channels)
    assert np.array_equal(decode_image(msg), pixels[..., list(order)])


def test_commands_that_are_no_commands_are_refused():
    from geometry_msgs.msg import PoseStamped, TwistStamped

    from worldagen.errors import BadCommand
    from worldagen.poses import Pose
    from worldagen_msgs.msg import GripperCommand

    here = Pose.from_euler(np.array([0.1, 0.2, 0.3, 3.0, 0.1, -0.5]))
    lost = messages.encode_pose(here, 0, "world")
    lost.pose.position.y = float("nan")
    unturned = PoseStamped()
    unturned.pose.orientation.w = 0.0
    racing = TwistStamped()
    racing.twist.angular.z = float("inf")
    for msg, says in ((lost, "nan"), (unturned, "length 0"), (racing, "inf")):
        with pytest.raises(BadCommand, match=says):
            messages.decode_motion(msg, here, 1 / 30)
    with pytest.raises(BadCommand, match=r"1\.5"):
        messages.decode_gripper(GripperCommand(opening=1.5))
