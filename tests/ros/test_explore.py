"""Exploration: a bag with every rollout whatever happens, and an end that says why."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from fakes import HOME, JOINTS, FakeDecider, FakeRobot
from rclpy.action import ActionClient
from rclpy.node import Node
from std_srvs.srv import Trigger

from worldagen.bags.reader import open_bag
from worldagen.disturbance import Disturbance
from worldagen.errors import ConfigError
from worldagen_msgs.action import ExecuteInstruction, Explore
from worldagen_msgs.msg import ActionChunk, PolicyStatus
from worldagen_ros import qos, topics
from worldagen_ros.config import RobotConfig
from worldagen_ros.explore_node import ExploreNode
from worldagen_ros.policy_node import PolicyNode
from worldagen_ros.recorder_node import RecorderNode
from worldagen_ros.robots import kinematics_of

ROBOT = RobotConfig()
AT_HOME = kinematics_of(ROBOT).tool_pose(JOINTS, HOME)
WORDS = ["open the drawer", "push the button"]
Result = Explore.Result
BUSY = ("cameras.period_s:=0.5", "cameras.max_skew_s:=0.5")  # patience with a busy machine


class Operator(Node):
    """Sends goals, hears what comes back, and puts the scene in order when asked to."""

    def __init__(self) -> None:
        super().__init__("operator")
        self.explore = ActionClient(self, Explore, topics.EXPLORE)
        self.execute = ActionClient(self, ExecuteInstruction, topics.EXECUTE)
        self.feedback: list[Explore.Feedback] = []
        self.chunks: list[ActionChunk] = []
        self.words: list[str] = []
        self.asked, self.willing = 0, True
        self.create_subscription(ActionChunk, topics.ACTION_CHUNK, self.chunks.append, qos.CHUNKS)
        self.create_subscription(
            PolicyStatus, topics.POLICY_STATUS, lambda msg: self.words.append(msg.instruction), qos.LATCHED
        )

    def offer_order(self) -> None:
        self.create_service(Trigger, topics.RESET_SCENE, self.on_asked)

    def on_asked(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.asked += 1
        response.success, response.message = self.willing, "tidy" if self.willing else "the door is jammed"
        return response

    def destroy_node(self) -> None:
        self.explore.destroy()
        self.execute.destroy()
        super().destroy_node()


class Scene:
    """A robot, its policy, a recorder and an explore node in one process."""

    def __init__(self, graph) -> None:
        self.graph = graph
        self.robot, self.operator = graph.add(FakeRobot()), graph.add(Operator())
        self.policy, self.recorder = graph.add(PolicyNode()), graph.add(RecorderNode())
        self.node = graph.add(ExploreNode())
        graph.wait(lambda: self.policy.inputs.newest() and self.operator.explore.server_is_ready(), "the scene")

    def send(self, bag: Path, rollouts: int = 2, steps: int = 6, **more):
        goal = Explore.Goal(**{"instructions": WORDS, "rollouts": rollouts, "steps": steps, "bag": str(bag), **more})
        sent = self.operator.explore.send_goal_async(goal, lambda msg: self.operator.feedback.append(msg.feedback))
        self.graph.wait(sent.done, "an answer to the goal")
        return sent.result()

    def end(self, handle):
        result = handle.get_result_async()
        self.graph.wait(result.done, "the end", 40.0)
        return result.result()

    def in_rollout(self, number: int = 1):
        """Wait until the policy has answered in that rollout."""
        follows = lambda: self.node.run and self.node.run.rollout == number and self.node.senses.first_chunk_ns  # noqa: E731
        self.graph.wait(follows, f"rollout {number}")


@pytest.fixture
def decider(monkeypatch) -> FakeDecider:
    made = FakeDecider()
    monkeypatch.setattr("worldagen_ros.policy_node.DECIDERS", {"network": lambda *_: made})
    return made


@pytest.fixture
def make_scene(start_ros, decider):
    """Call with parameters of the explore node; returns a Scene."""

    def make(*parameters: str) -> Scene:
        home = "[" + ", ".join(f"{number:.6f}" for number in AT_HOME) + "]"
        live = [f"{node}:timing.mode:=realtime" for node in ("policy", "recorder", "explore")]
        live += [f"{node}:{text}" for node in ("policy", "recorder", "explore") for text in BUSY]
        ours = ("begin:=home", f"home_pose:={home}", "scene_reset_wait_s:=0.0")
        patient = ("envelope.max_camera_age_s:=5.0", "envelope.max_state_age_s:=5.0")
        settings = [*live, "policy:policy.kind:=network", "explore:recorder.floor_mib:=0", "recorder:recorder.floor_mib:=0"]
        settings += [f"explore:explore.{text}" for text in (*ours, *patient)] + [f"explore:{text}" for text in parameters]
        return Scene(start_ros(*(part for text in settings for part in ("-p", text))))

    return make


def words_in(bag: Path) -> list[str]:
    """What the policy followed, in order, as the bag tells it."""
    with open_bag(bag) as read:
        told = [str(read.decode(message).instruction) for message in read.messages(["/policy/status"])]
    return [words for words, before in zip(told, ["", *told], strict=False) if words and words != before]


def test_every_instruction_is_rolled_out_and_the_bag_holds_all_of_it(make_scene, decider, tmp_path):
    scene = make_scene()
    ended = scene.end(scene.send(tmp_path / "bag", rollouts=4, action_noise=0.1, seed=3))
    result = ended.result
    assert ended.status == GoalStatus.STATUS_SUCCEEDED and result.reason == Result.FINISHED, result.message
    assert (result.rollouts, result.bag) == (4, str(tmp_path / "bag"))
    assert sorted(words_in(tmp_path / "bag")) == sorted(WORDS * 2)
    assert decider.instructions == words_in(tmp_path / "bag")
    noises = [what.noise for what in decider.disturbances]
    assert noises == [0.1] * 4 and len({what.seed for what in decider.disturbances}) == 4
    with open_bag(tmp_path / "bag") as bag:
        assert result.frames == sum(bag.counts[f"/{topic}"] for topic in topics.CAMERA_TOPICS.values()) > 0
        notes = bag.metadata["notes"]
    assert json.loads(notes["instructions"]) == WORDS and notes["action_noise"] == "0.1" and notes["seed"] == "3"
    assert scene.operator.feedback[-1].rollout >= 1 and scene.operator.feedback[0].time_left > 0
    assert scene.policy.loop.instruction == "" and not scene.recorder.recorder.recording


def test_cancelled_it_stops_policy_and_recorder_at_once(make_scene, tmp_path):
    scene = make_scene()
    handle = scene.send(tmp_path / "bag", rollouts=2, steps=100_000)
    scene.in_rollout()
    begun_s, result = time.monotonic(), handle.get_result_async()
    handle.cancel_goal_async()
    scene.graph.wait(result.done, "the end")
    assert time.monotonic() - begun_s < 2.0  # a tenth of it on an idle machine
    ended = result.result()
    assert ended.status == GoalStatus.STATUS_CANCELED and ended.result.reason == Result.CANCELED
    assert ended.result.rollouts == 0 and "rollout 1 of 2" in ended.result.message
    assert scene.policy.loop.instruction == "" and not scene.recorder.recorder.recording
    assert len(words_in(tmp_path / "bag")) == 1  # the bag is whole, and holds what was begun
    assert scene.send(tmp_path / "next", rollouts=1).accepted


def test_a_robot_that_leaves_its_box_ends_it(make_scene, tmp_path):
    scene = make_scene("explore.envelope.max_speed_mps:=5.0", "explore.envelope.max_speed_radps:=20.0")
    handle = scene.send(tmp_path / "bag", rollouts=1, steps=100_000)
    scene.in_rollout()
    for share in np.linspace(0.0, 1.0, 30):  # slowly forward and down, below the floor
        scene.robot.positions = HOME + share * np.array([0.0, 1.9, 0.0, 0.9, 0.0, 0.0, 0.0])
        scene.robot.speak()
        scene.graph.spin_for(0.02)
    ended = scene.end(handle)
    assert ended.status == GoalStatus.STATUS_ABORTED and ended.result.reason == Result.ENVELOPE
    assert "the box allows" in ended.result.message
    assert scene.policy.loop.instruction == "" and not scene.recorder.recorder.recording
    last = scene.operator.chunks[-1]  # rows that stand still replace the rest of the policy's
    assert all(row.translation.x == 0.0 for row in last.rows)
    assert words_in(tmp_path / "bag")


def test_a_touch_ends_it(make_scene, tmp_path):
    scene = make_scene()
    scene.robot.efforts = [0.0] * 7
    handle = scene.send(tmp_path / "bag", rollouts=1, steps=100_000)
    scene.in_rollout()
    scene.robot.efforts = [0.0, 0.0, 25.0, 0.0, 0.0, 0.0, 0.0]
    ended = scene.end(handle)
    assert ended.result.reason == Result.ENVELOPE and "panda_joint3 changed by 25.00 Nm" in ended.result.message


def test_only_while_it_explores_it_hears_joint_states_and_pictures(make_scene, tmp_path):
    scene = make_scene()
    streams = (topics.JOINT_STATES, *topics.CAMERA_TOPICS.values())

    def heard() -> list[int]:
        return [
            sum(info.node_name == "explore" for info in scene.node.get_subscriptions_info_by_topic(name)) for name in streams
        ]

    assert heard() == [0, 0, 0]
    for attempt in range(2):
        handle = scene.send(tmp_path / f"bag{attempt}", rollouts=1, steps=100_000)
        scene.in_rollout()
        assert heard() == [1, 1, 1]
        handle.cancel_goal_async()
        assert scene.end(handle).result.reason == Result.CANCELED
        scene.graph.wait(lambda: heard() == [0, 0, 0], "the end of listening")


def test_a_camera_that_never_speaks_ends_it_by_name(make_scene, tmp_path, monkeypatch):
    monkeypatch.setattr("worldagen_ros.explore_node.MEETING_S", 1.0)
    scene = make_scene()
    scene.robot.silent.add("wrist_camera")
    ended = scene.end(scene.send(tmp_path / "bag", rollouts=1))
    assert ended.result.reason == Result.INPUT_LOST and ended.result.message.endswith(" of wrist_camera"), ended.result.message
    assert not (tmp_path / "bag").exists()


def test_a_camera_that_stops_ends_it_by_name(make_scene, tmp_path):
    scene = make_scene("explore.envelope.max_camera_age_s:=0.5")
    handle = scene.send(tmp_path / "bag", rollouts=1, steps=100_000)
    scene.in_rollout()
    scene.robot.silent.add("wrist_camera")
    ended = scene.end(handle)
    assert ended.result.reason == Result.INPUT_LOST and "wrist_camera is silent" in ended.result.message


def test_time_that_is_over_ends_it(make_scene, tmp_path):
    scene = make_scene()
    ended = scene.end(scene.send(tmp_path / "bag", rollouts=1, steps=100_000, time_limit=1.0))
    assert ended.result.reason == Result.ENVELOPE and "the time limit is 1 s" in ended.result.message


def test_without_disk_nothing_is_recorded(make_scene, tmp_path):
    scene = make_scene("recorder.floor_mib:=1000000000")
    ended = scene.end(scene.send(tmp_path / "bag"))
    assert ended.result.reason == Result.DISK_FULL and ended.result.bag == "" and not (tmp_path / "bag").exists()


def test_another_instruction_that_takes_over_ends_it(make_scene, tmp_path):
    scene = make_scene()
    handle = scene.send(tmp_path / "bag", rollouts=1, steps=100_000)
    scene.in_rollout()
    scene.policy.execute.finish(ExecuteInstruction.Result.REPLACED, "another instruction took over")
    ended = scene.end(handle)
    assert ended.result.reason == Result.FAULT and "another instruction took over" in ended.result.message


def test_only_one_goal_at_a_time_and_none_that_makes_no_sense(make_scene, tmp_path):
    scene = make_scene()
    (tmp_path / "there").mkdir()
    nonsense = [
        {"rollouts": 0},
        {"steps": 0},
        {"seed": -1},
        {"action_noise": 0.6},
        {"action_noise": float("nan")},
        {"time_limit": float("nan")},
        {"time_limit": -1.0},
        {"instructions": ["  "]},
        {"bag": str(tmp_path / "there")},
    ]
    for wrong in nonsense:
        assert not scene.send(**{"bag": tmp_path / "bag", **wrong}).accepted, wrong
    first = scene.send(tmp_path / "bag", rollouts=1, steps=100_000)
    scene.in_rollout()
    assert not scene.send(tmp_path / "other").accepted
    scene.graph.wait(first.cancel_goal_async().done, "the cancellation")
    assert scene.end(first).result.reason == Result.CANCELED  # the second one changed nothing


def test_somebody_is_asked_to_put_the_scene_in_order(make_scene, tmp_path):
    scene = make_scene("explore.scene_reset_wait_s:=10.0")
    scene.operator.offer_order()
    assert scene.end(scene.send(tmp_path / "bag", rollouts=2, steps=3)).result.reason == Result.FINISHED
    assert scene.operator.asked == 2
    scene.operator.willing = False
    ended = scene.end(scene.send(tmp_path / "next"))
    assert ended.result.reason == Result.FAULT and "the door is jammed" in ended.result.message


def test_where_order_is_required_nobody_is_a_fault(make_scene, tmp_path):
    ended = (scene := make_scene("explore.scene_reset:=required")).end(scene.send(tmp_path / "bag"))
    assert ended.result.reason == Result.FAULT and "nobody offers explore/reset_scene" in ended.result.message


def test_an_arm_that_is_not_home_is_driven_there_in_small_rows(make_scene, tmp_path):
    away = "[" + ", ".join(f"{number:.6f}" for number in AT_HOME + np.array([0.2, 0, 0, 0, 0, 0])) + "]"
    scene = make_scene(f"explore.home_pose:={away}", "explore.home_timeout_s:=1.0")
    ended = scene.end(scene.send(tmp_path / "bag"))
    assert ended.result.reason == Result.FAULT and "0.200 m" in ended.result.message  # this robot never moves
    moves = np.array([[row.translation.x, row.translation.y] for row in scene.operator.chunks[0].rows])
    assert np.allclose(moves, [0.05 / 30, 0.0], atol=1e-5)  # 0.05 m/s


def test_noise_that_is_none_is_refused_by_the_policy(make_scene, decider):
    scene = make_scene()
    graph, client = scene.graph, scene.operator.execute
    graph.wait(client.server_is_ready, "the policy")

    def send(**more):
        sent = client.send_goal_async(ExecuteInstruction.Goal(instruction="open the drawer", **more))
        graph.wait(sent.done, "an answer")
        return sent.result()

    for wrong in ({"action_noise": 0.7}, {"action_noise": -0.1}, {"action_noise": float("nan")}, {"noise_seed": -1}):
        assert not send(**wrong).accepted
    assert send(action_noise=0.2, noise_seed=5).accepted
    graph.wait(lambda: decider.answered, "a decision")
    assert decider.disturbances == [Disturbance(0.2, 5)]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (("explore.begin:=home", "timing.mode:=realtime", "explore.home_pose:=[0.0, 0.0, 3.0, 0.0, 0.0, 0.0]"), "home_pose"),
        (("timing.mode:=lockstep",), "every_picture"),
        (("timing.mode:=realtime", "explore.begin:=reset", "robot.source:=hardware"), "choose home"),
    ],
)
def test_a_deployment_that_cannot_explore_is_refused(start_ros, parameters, words):
    graph = start_ros(*(part for text in parameters for part in ("-p", text)))
    with pytest.raises(ConfigError, match=words):
        graph.add(ExploreNode())
