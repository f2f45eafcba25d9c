"""The viewer is shown what topics say, at their stamps, live and from a bag."""

import argparse
import socket
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'worldagen[view]'")

import rerun as rr
from bag_making import SECOND_NS, STORE, encode, header, topic, write_bag
from demonstration_making import JOINTS, STATIC, demonstrate, joints, records_of, write_demonstration
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fakes import FakeRobot
from rclpy.node import Node

from worldagen.bags.reader import open_bag
from worldagen.errors import BagError, WorldAgenError
from worldagen_msgs.msg import PolicyStatus, Surprise
from worldagen_ros import messages, topics, viewing_live
from worldagen_ros.commands import view as command
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.params import read_tree
from worldagen_ros.view import Viewer
from worldagen_ros.viewing import TOPICS, StackView, layout
from worldagen_ros.viewing_bag import show_bag, topics_of
from worldagen_ros.viewing_live import ViewNode

BEGIN_S = 1000.0


class Recording:
    """Keeps what is logged, in place of a rerun.RecordingStream: path -> (stamp in ns, None for always; what)."""

    def __init__(self) -> None:
        self.logged: dict[str, list[tuple[int | None, object]]] = defaultdict(list)
        self.stamp_ns = -1

    def set_time(self, timeline: str, *, duration=None, timestamp=None) -> None:
        assert timeline == "stamp" and (duration is None) != (timestamp is None)
        self.stamp_ns = int((duration if timestamp is None else timestamp).astype(np.int64))

    def log(self, path: str, what: object, static: bool = False) -> None:
        self.logged[path].append((None if static else self.stamp_ns, what))

    def stamps(self, path: str, kind: type | None = None) -> list[int | None]:
        return [at for at, what in self.logged[path] if at is not None and (kind is None or isinstance(what, kind))]


@pytest.fixture
def recording() -> Recording:
    return Recording()


def test_a_bag_is_shown_at_the_stamps_of_its_messages(recording, tmp_path):
    shown = demonstrate(steps=12, start_s=BEGIN_S)
    write_demonstration(tmp_path / "bag", shown)
    with open_bag(tmp_path / "bag") as bag:
        view = StackView(recording)
        show_bag(bag, view)
    stamps = shown.stamps_ns.tolist()
    for path in ("camera/static", "camera/wrist", "world/arm", "tool/measured", "tool/commanded", "gripper/commanded"):
        assert recording.stamps(path) == stamps, path
    assert recording.stamps("inference") == stamps[::3]
    assert len(recording.stamps("rows/translation", rr.Scalars)) == 12
    assert recording.stamps("world/chunk", rr.LineStrips3D)
    assert recording.logged["world/workspace"][0][0] is None  # a bound is always there
    assert "world/envelope" not in recording.logged  # nobody explores
    said = [what.text for _, what in recording.logged["log/instruction"]]
    assert len(said) == 1 and recording.stamps("log/instruction") == stamps[:1]
    assert view.problems == {}


def test_the_bounds_are_those_of_the_recorded_deployment(recording, tmp_path):
    parameters = {"command.limits.workspace_low_m": "(-0.5, -0.5, 0.1)", "explore.enabled": "true", "policy.seed": "3"}
    write_bag(tmp_path / "bag", records_of(demonstrate(steps=3)), {"parameters": parameters})
    with open_bag(tmp_path / "bag") as bag:
        show_bag(bag, StackView(recording))
    strips = recording.logged["world/workspace"][0][1].strips.as_arrow_array().to_pylist()
    assert np.allclose(np.min(strips, axis=(0, 1)), [-0.5, -0.5, 0.1])
    assert "world/envelope" in recording.logged


def test_a_plan_is_taken_away_when_it_was_played_out(recording, tmp_path):
    shown = demonstrate(steps=12)
    records = [
        item for item in records_of(shown, chunk_rows=3) if item[0].name != "/action_chunk" or item[2] < shown.stamps_ns[2]
    ]
    write_bag(tmp_path / "bag", records)
    with open_bag(tmp_path / "bag") as bag:
        show_bag(bag, StackView(recording))
    drawn, taken = recording.stamps("world/chunk", rr.LineStrips3D), recording.stamps("world/chunk", rr.Clear)
    assert len(drawn) == 1 and len(taken) == 1 and drawn[0] < taken[0]


def spoken_by(namespace: str):
    return [(replace(what, name=f"/{namespace}{what.name}"), *rest) for what, *rest in records_of(demonstrate(steps=3))]


def test_the_one_stack_of_a_bag_is_found_in_its_namespace_and_of_several_one_is_chosen(tmp_path):
    write_bag(tmp_path / "left", spoken_by("left"))
    with open_bag(tmp_path / "left") as bag:
        assert topics_of(bag)["/left/joint_states"] == "joint_states"
    both = sorted([*spoken_by("left"), *spoken_by("right")], key=lambda record: record[2])
    write_bag(tmp_path / "both", both)
    with open_bag(tmp_path / "both") as bag:
        with pytest.raises(BagError, match="2 stacks speak: /left/joint_states, /right/joint_states; choose one"):
            topics_of(bag)
        assert set(topics_of(bag, "right").values()) <= set(TOPICS)
        assert all(name.startswith("/right/") for name in topics_of(bag, "right"))


def test_what_everybody_says_is_shown_of_a_namespaced_stack_too(tmp_path):
    everybody = topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
    data = encode(everybody.type, STORE.types[everybody.type](header(SECOND_NS), []))
    write_bag(tmp_path / "bag", [(everybody, data, 1, 1), *spoken_by("left")])
    with open_bag(tmp_path / "bag") as bag:
        assert topics_of(bag)["/diagnostics"] == topics.DIAGNOSTICS


def test_a_bag_without_a_stack_is_refused(tmp_path):
    write_bag(
        tmp_path / "bag",
        [
            (
                topic("/said", "std_msgs/msg/String"),
                encode("std_msgs/msg/String", STORE.types["std_msgs/msg/String"]("hi")),
                1,
                1,
            )
        ],
    )
    with open_bag(tmp_path / "bag") as bag, pytest.raises(BagError, match="no topic of a stack in /; it has /said"):
        topics_of(bag)


def test_what_cannot_be_shown_is_told_once_and_the_rest_goes_on(recording, tmp_path):
    broken = [(JOINTS, joints(index * SECOND_NS, ("a",), [np.nan]), index * SECOND_NS, 0) for index in range(1, 4)]
    write_bag(tmp_path / "bag", sorted([*broken, *records_of(demonstrate(steps=3))], key=lambda record: record[2]))
    with open_bag(tmp_path / "bag") as bag:
        view = StackView(recording)
        show_bag(bag, view)
    assert list(view.problems) == [topics.JOINT_STATES] and "not finite" in view.problems[topics.JOINT_STATES]
    assert len(recording.logged["log/viewer"]) == 1 and len(recording.stamps("world/arm")) == 3


def test_words_are_told_when_they_change_and_at_what_was_last_measured(recording):
    view = StackView(recording)
    view.describe(DeploymentConfig())
    health = DiagnosticArray(status=[DiagnosticStatus(name="monitor: surprise", level=DiagnosticStatus.WARN, message="odd")])
    health.header.stamp.sec = 1_700_000_000  # the wall's, in lockstep another clock
    view.take(topics.DIAGNOSTICS, health)  # before anything was measured
    assert not recording.logged["log/diagnostics/monitor/surprise"]
    for second in (5, 6):
        view.take(topics.STATIC_IMAGE, picture_at(second))
        view.take(topics.DIAGNOSTICS, health)
        view.take(topics.POLICY_STATUS, PolicyStatus(state=PolicyStatus.RUNNING, instruction="push the block"))
    at, line = recording.logged["log/diagnostics/monitor/surprise"][0]
    assert at == 5 * SECOND_NS and len(recording.logged["log/diagnostics/monitor/surprise"]) == 1
    assert line.text.as_arrow_array().to_pylist() == ["monitor: surprise: odd"]
    assert line.level.as_arrow_array().to_pylist() == ["WARN"]
    assert len(recording.logged["log/policy"]) == 1


def picture_at(second: int):
    shown = demonstrate(steps=2, start_s=second)
    data = next(data for what, data, *_ in records_of(shown) if what is STATIC)
    return STORE.deserialize_cdr(data, STATIC.type)


def test_a_sustained_surprise_is_told_and_so_is_its_end(recording):
    view = StackView(recording)
    view.take(topics.STATIC_IMAGE, picture_at(1))
    for second, sustained in enumerate((False, True, True, False), 1):
        msg = Surprise(views=["static"], errors=[0.1], levels=[0.5], level=1.5 if sustained else 0.5, sustained=sustained)
        msg.header.stamp.sec = second
        view.take(topics.SURPRISE, msg)
    assert [line.text.as_arrow_array().to_pylist()[0].split(":")[0] for _, line in recording.logged["log/surprise"]] == [
        "other than expected, for a while",
        "as expected again",
    ]
    assert recording.stamps("surprise/level", rr.Scalars) == [second * SECOND_NS for second in (1, 2, 3, 4)]


def test_the_layout_has_a_place_for_what_there_is_only():
    def names(heard) -> set[str]:
        found, waiting = set(), [layout(heard).root_container]
        while waiting:
            place = waiting.pop()
            waiting += list(getattr(place, "contents", None) or []) if not hasattr(place, "class_identifier") else []
            found.add(str(getattr(place, "name", "")))
        return found

    assert {"static camera", "what is said", "arm, plan, bounds"} <= names({topics.STATIC_IMAGE, topics.JOINT_STATES})
    assert not {"wrist camera", "surprise: unusual above 1"} & names({topics.STATIC_IMAGE, topics.JOINT_STATES})
    assert {"wrist camera", "surprise: unusual above 1", "expected: static"} <= names(TOPICS)


def test_a_running_stack_is_shown_within_the_bounds_that_its_command_node_tells(recording, start_ros):
    graph = start_ros("-p", "command.limits.workspace_low_m:=[-0.5, -0.5, 0.1]")
    view = StackView(recording)
    told = graph.add(Node("command", automatically_declare_parameters_from_overrides=True))
    read_tree(told, DeploymentConfig(), ("robot", "command"))
    graph.add(FakeRobot())
    node = graph.add(ViewNode(view))
    graph.wait(lambda: len(recording.stamps("world/arm")) > 3, "the arm within its bounds")
    graph.wait(lambda: recording.stamps("camera/static") and recording.stamps("camera/wrist"), "both cameras")
    assert node.described and view.problems == {}
    strips = recording.logged["world/workspace"][0][1].strips.as_arrow_array().to_pylist()
    assert np.allclose(np.min(strips, axis=(0, 1)), [-0.5, -0.5, 0.1])
    assert abs(node.get_clock().now().nanoseconds - recording.stamps("camera/static")[-1]) < 20e9
    assert messages.stamp_to_ns(node.get_clock().now().to_msg()) > 10**17


def test_it_is_told_when_nobody_tells_the_bounds(recording, start_ros, monkeypatch):
    monkeypatch.setattr(viewing_live, "SILENCE_S", 0.0)
    graph = start_ros()
    graph.add(FakeRobot())
    graph.add(ViewNode(StackView(recording)))
    graph.wait(lambda: recording.logged["log/viewer"], "the hint")
    assert "no command node answers" in recording.logged["log/viewer"][0][1].text.as_arrow_array().to_pylist()[0]
    assert recording.stamps("joints", rr.Scalars) and not recording.stamps("world/arm")


def test_predictions_are_asked_for_only_where_they_are_wanted(recording, start_ros):
    graph = start_ros()
    graph.add(ViewNode(StackView(recording), "shy", predictions=False))
    graph.add(ViewNode(StackView(recording), "keen"))
    asks = [graph.nodes[0].count_subscribers(f"/{name}/{topics.STATIC_PREDICTION}") for name in ("shy", "keen")]
    assert asks == [0, 1]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(words)


def test_a_bag_is_written_into_a_file_for_later_and_no_file_is_overwritten(tmp_path, capsys):
    write_demonstration(tmp_path / "bag")
    words = ("--bag", str(tmp_path / "bag"), "--save", str(tmp_path / "made" / "view.rrd"))
    assert command.run(arguments(*words)) == 0
    assert (tmp_path / "made" / "view.rrd").stat().st_size > 10_000
    assert "rerun " in capsys.readouterr().out
    with pytest.raises(WorldAgenError, match="exists; name another file"):
        command.run(arguments(*words))


def test_a_page_is_refused_where_its_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(WorldAgenError, match=f"port {port} is taken"):
            Viewer(data_port=port, web=True)
