"""A recorded run once more: the same weights give the same chunks, offline and through the node; others are told apart."""

import json
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from PIL import Image
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader, AnyReaderError
from sensor_msgs.msg import JointState

from worldagen.bags import metadata_file
from worldagen.bags.reader import open_bag
from worldagen.bags.writer import BagWriter
from worldagen.checkpoint import save_checkpoint
from worldagen.cli import main
from worldagen.config import leaves
from worldagen.conventions import CONVENTIONS
from worldagen.replay.planning import plan_decisions
from worldagen.replay.recorded import read_run
from worldagen.session import make_policy
from worldagen_ros import qos
from worldagen_ros.config import DeploymentConfig, load_deployment
from worldagen_ros.deciders import DECIDERS
from worldagen_ros.demonstrating import topics_of
from worldagen_ros.direct import DirectStack
from worldagen_ros.policy_node import PolicyNode
from worldagen_ros.replay_stack import Player
from worldagen_sim.environment import make_environment
from worldagen_sim.episode import Episodes

STEPS, ROWS = 20, 5
BEGIN_NS = 1000 * 1_000_000_000
SKIPPED = "delta_twist, policy/status, /diagnostics, /tf, /tf_static"


def record(folder: Path, config: DeploymentConfig, steps: int) -> Path:
    """A short run in lockstep, with the messages of the nodes."""
    episodes = Episodes(make_environment("playtable", renderer="raycast"))
    episodes.begin("open_drawer", "A", 3, steps)
    topics = topics_of(config)
    with BagWriter(folder, {"parameters": {leaf.key: str(leaf.default) for leaf in leaves(config)}}) as bag:
        for topic in topics.values():
            bag.add_topic(topic)

        def write(name, msg, stamp_ns):
            if name in topics:
                bag.write(topics[name].name, serialize_message(msg), stamp_ns, stamp_ns)

        DirectStack(config, episodes, DECIDERS[config.policy.kind](config.policy, config.robot)).play(BEGIN_NS, write)
    episodes.environment.close()
    return folder


def copy_without(bag_folder: Path, folder: Path, *skipped: str) -> Path:
    with open_bag(bag_folder) as bag, BagWriter(folder, bag.metadata) as copy:
        for message in bag.messages([name for name in bag.topics if name not in skipped]):
            copy.add_topic(bag.topics[message.topic])
            copy.write(message.topic, message.data, message.log_time_ns, message.publish_time_ns)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    """Two of the small preset with random weights, and one whose numbers mean something else."""
    folder, policies = tmp_path_factory.mktemp("checkpoints"), [make_policy("playtable", seed) for seed in (0, 1)]
    foreign = replace(policies[0].conventions, actions=CONVENTIONS["libero"])
    for name, policy, conventions in (
        ("first", policies[0], policies[0].conventions),
        ("second", policies[1], policies[1].conventions),
        ("foreign", policies[0], foreign),
    ):
        save_checkpoint(folder / name, policy.network, conventions, "random weights")
    return [folder / name for name in ("first", "second", "foreign")]


@pytest.fixture(scope="module")
def recorded(checkpoints, tmp_path_factory) -> Path:
    """By the first checkpoint."""
    settings = {"policy.checkpoint": str(checkpoints[0]), "recorder.skip": SKIPPED}
    return record(tmp_path_factory.mktemp("recorded") / "bag", load_deployment("sim_network", settings), STEPS)


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory) -> Path:
    """By the demonstrator: a decision and pictures at every control step."""
    return record(tmp_path_factory.mktemp("demonstrated") / "bag", load_deployment("record"), 12)


def test_the_same_weights_give_the_same_chunks_bit_for_bit(recorded, checkpoints, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["replay", str(recorded), "--out", str(out), "--tolerance", "0"]) == 0
    assert "equal: bit for bit" in capsys.readouterr().out
    report = json.loads((out / "replay.json").read_text())
    assert (report["equal"], report["compared"], report["compared_with"]) == ("bit for bit", STEPS // ROWS, "chunks")
    assert report["policy"]["source"] == str(checkpoints[0]) and len(report["policy"]["digest"]) == 64
    assert report["dimensions"]["rz"] == {"unit": "mrad", "mean": 0.0, "max": 0.0} and report["gripper"]["share"] == 0.0
    assert [decision["afresh"] for decision in report["decisions"]] == [True, False, False, False]
    assert Image.open(out / "replay.png").size[0] > 1000


def test_other_weights_are_told_apart_decision_by_decision(recorded, checkpoints, tmp_path, capsys):
    asked = ["replay", str(recorded), "--checkpoint", str(checkpoints[1])]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 0
    assert "different: up to" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/replay.json").read_text())
    assert report["equal"] == "no" and all(of["max"] > of["mean"] > 0 for of in report["dimensions"].values())
    largest = max(max(decision["max"].values()) for decision in report["decisions"])
    assert largest == max(of["max"] for of in report["dimensions"].values())
    assert main([*asked, "--tolerance", str(largest - 1)]) == 1
    assert "beyond the tolerance" in capsys.readouterr().out


@pytest.fixture
def ask_node(recorded, checkpoints, start_ros):
    """Ask a policy node of this process, at a pace: the plan, and the rows that came for each of its decisions."""
    spinning: list[tuple[SingleThreadedExecutor, threading.Thread]] = []

    def ask(pace: str):
        where = ("-r", "__ns:=/replay", "-r", "/clock:=/replay/clock", "-p", f"timing.mode:={pace}")
        graph = start_ros(*where, "-p", "policy.kind:=network", "-p", f"policy.checkpoint:={checkpoints[0]}")
        executor = SingleThreadedExecutor()
        graph.nodes.append(node := PolicyNode())
        node.bring_up()
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        spinning.append((executor, thread))
        thread.start()
        with open_bag(recorded) as bag:
            run = read_run(bag, "world")
            plan = plan_decisions(run, ROWS, 0.5)
            player = Player("replay", lambda: None, bag, run, "world", clock=True)
            graph.nodes.append(player)
            player.wait_until_connected()
            way = player.ask_in_lockstep if pace == "lockstep" else player.ask_in_real_time
            return plan, way(plan.decisions, 0.02)

    yield ask
    for executor, thread in spinning:
        executor.shutdown()
        thread.join(10)


def test_through_a_policy_node_in_lockstep_the_chunks_are_the_same_too(ask_node):
    plan, answers = ask_node("lockstep")
    assert np.array_equal([decision.rows for decision in plan.decisions], answers)


@pytest.mark.alone  # a first answer that comes late is none, and the next is by another history
def test_in_real_time_messages_come_at_their_own_pace_and_what_is_answered_in_time_is_the_same(ask_node):
    plan, answers = ask_node("realtime")
    made = [(decision.rows, rows) for decision, rows in zip(plan.decisions, answers, strict=True) if rows is not None]
    assert made and np.array_equal(*made[0])  # the later ones only where this machine kept the pace


def test_a_node_that_ends_is_told_with_its_last_words(recorded, domain, capsys):
    asked = ["replay", str(recorded), "--via", "ros", "--domain", str(domain), "--set", "robot.urdf=nowhere.urdf"]
    assert main(asked) == 1
    error = capsys.readouterr().err
    assert (
        "manager ended with exit code 1; it said last:" in error
        and "[command] ERROR: there is no robot 'nowhere.urdf'" in error
    )


def test_a_demonstration_is_compared_with_the_rows_that_were_executed(demonstrated, checkpoints, tmp_path, capsys):
    assert main(["replay", str(demonstrated), "--checkpoint", str(checkpoints[0]), "--out", str(tmp_path / "out")]) == 0
    assert "note: recorded chunks have 1 rows, this network's 5: it decides every 5 rows" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/replay.json").read_text())
    assert (report["compared_with"], report["compared"]) == ("executed rows", 2)  # of 13 instants, 10
    assert np.allclose([decision["time_s"] for decision in report["decisions"]], [0, ROWS / 30])
    with open_bag(demonstrated) as bag:
        run = read_run(bag, "world")
    executed = [given.chunk.rows[0] for given in run.chunks]
    plan = plan_decisions(run, ROWS, 0.5)
    assert np.array_equal(np.concatenate([decision.rows for decision in plan.decisions]), executed[: 2 * ROWS])


@pytest.mark.parametrize(
    ("skipped", "words"),
    [
        ("/action_chunk", "no chunks on action_chunk, so there is no decision to make again; it has: /instruction"),
        ("/wrist_camera/image_raw", "nothing on wrist_camera/image_raw, which the policy looks at; it has: "),
        ("/joint_states", "nothing on joint_states"),
    ],
)
def test_a_bag_that_lacks_what_a_decision_needs_is_refused(recorded, tmp_path, capsys, skipped, words):
    assert main(["replay", str(copy_without(recorded, tmp_path / "bag", skipped))]) == 1
    assert words in capsys.readouterr().err


def test_a_checkpoint_that_means_something_else_by_its_numbers_is_refused(recorded, checkpoints, capsys):
    assert main(["replay", str(recorded), "--checkpoint", str(checkpoints[2])]) == 1
    error = capsys.readouterr().err
    assert "must not drive this deployment's simulator" in error and "translation_scale_m: the checkpoint has 0.05" in error


def test_a_checkpoint_that_nobody_names_or_that_is_not_there_is_asked_for(demonstrated, recorded, tmp_path, capsys):
    assert main(["replay", str(demonstrated)]) == 1
    assert "recorded with policy.kind demonstrator, which is no network; give the one to ask" in capsys.readouterr().err
    assert main(["replay", str(recorded), "--checkpoint", str(tmp_path / "nowhere")]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err


def test_a_damaged_bag_and_a_full_folder_are_refused_in_one_line(recorded, tmp_path, capsys):
    shutil.copytree(recorded, tmp_path / "bag")
    file = next((tmp_path / "bag").glob("*.mcap"))
    file.write_bytes(file.read_bytes()[:-3000])
    assert main(["replay", str(tmp_path / "bag")]) == 1
    error = capsys.readouterr().err
    assert "worldagen bag recover" in error and error.count("\n") == 1
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    assert main(["replay", str(recorded), "--out", str(tmp_path / "full")]) == 1
    assert "is not empty; give another folder" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_pictures_that_were_lost_are_decisions_that_cannot_be_made_again(recorded, tmp_path, capsys):
    lost_ns = BEGIN_NS + round(2 * ROWS / 30 * 1e9)
    with open_bag(recorded) as bag, BagWriter(tmp_path / "bag", bag.metadata) as copy:
        for message in bag.messages():
            if message.topic != "/static_camera/image_raw" or abs(message.publish_time_ns - lost_ns) > 1_000_000:
                copy.add_topic(bag.topics[message.topic])
                copy.write(message.topic, message.data, message.log_time_ns, message.publish_time_ns)
    assert main(["replay", str(tmp_path / "bag"), "--tolerance", "1000"]) == 1
    said = capsys.readouterr().out
    assert "3 of 4 decisions" in said and "1 decisions could not be made again" in said


def test_standard_readers_find_all_that_a_player_needs(demonstrated):
    heard = set()
    with AnyReader([demonstrated]) as reader:
        kinds = {connection.topic: connection.msgtype for connection in reader.connections}
        offered = {connection.topic: connection.ext.offered_qos_profiles for connection in reader.connections}
        for connection, _, data in reader.messages():
            heard.add(connection.topic)
            try:
                reader.deserialize(data, connection.msgtype)
            except (
                AnyReaderError
            ):  # Fast CDR aligns after an empty sequence at the end of a message; rosbags does not expect it
                assert connection.msgtype == "sensor_msgs/msg/JointState"
                reader.deserialize(data[:-4], connection.msgtype)
    assert kinds["/action_chunk"] == "worldagen_msgs/msg/ActionChunk"
    # Every type is defined in the bag, and every message fits it; an expert is not traced.
    assert heard <= set(kinds) and set(kinds) - heard == {"/latency"}
    assert all(len(profiles) == 1 for profiles in offered.values())
    assert offered["/instruction"][0].durability.name == "TRANSIENT_LOCAL"
    with next(demonstrated.glob("*.mcap")).open("rb") as file:
        summary = make_reader(file).get_summary()
        assert summary is not None
        assert all(schema.encoding == "ros2msg" and schema.data for schema in summary.schemas.values())
        assert all(channel.metadata["offered_qos_profiles"] for channel in summary.channels.values())
    assert "offered_qos_profiles" in (demonstrated / metadata_file.NAME).read_text()


@pytest.mark.skipif(shutil.which("ros2") is None, reason="ros2 bag comes with a distribution, not with the wheels")
def test_ros2_bag_plays_it(demonstrated, start_ros):
    graph, heard = start_ros(), []
    node = graph.add(Node("listener"))
    node.create_subscription(JointState, "/joint_states", heard.append, qos.states())
    with subprocess.Popen(["ros2", "bag", "play", str(demonstrated), "--delay", "2"]) as playing:
        graph.wait(lambda: heard, "joint states", 30.0)
        playing.terminate()
