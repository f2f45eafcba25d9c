"""A bag holds what was published, byte for byte; a recorder that is killed, or short of disk, loses little and says so."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray
from fakes import FakeRobot
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import Reader
from std_msgs.msg import String

from worldagen.bags.check import Level, check_bag
from worldagen.bags.contract import contract_of
from worldagen.bags.reader import open_bag
from worldagen.bags.recover import recover_bag
from worldagen.errors import BagError, ConfigError, DiskFull
from worldagen_msgs.srv import StartRecording, StopRecording
from worldagen_ros import qos, topics
from worldagen_ros.config import RecorderConfig, load_deployment
from worldagen_ros.recorded import Recorded, contract_of_deployment, recorded_of
from worldagen_ros.recorder import Recorder
from worldagen_ros.recorder_node import RecorderNode

PLENTY = 1 << 50
STATIC, WRIST, JOINTS = "/static_camera/image_raw", "/wrist_camera/image_raw", "/joint_states"


class Speaker(FakeRobot):
    """A robot that remembers, serialised, everything it said."""

    def __init__(self, **options) -> None:
        self.said: dict[str, list[bytes]] = {STATIC: [], WRIST: [], JOINTS: []}
        super().__init__(**options)
        for name, publisher in zip((STATIC, WRIST, JOINTS), (*self.cameras.values(), self.joints), strict=True):
            self._remember(name, publisher)

    def _remember(self, name: str, publisher) -> None:
        publish = publisher.publish

        def remember(msg) -> None:
            self.said[name].append(serialize_message(msg))
            publish(self.said[name][-1])  # these very bytes: CDR leaves its padding as it finds it

        publisher.publish = remember


def recorder_on(graph, config: RecorderConfig = RecorderConfig(), free=lambda _: PLENTY, **options) -> Recorder:  # noqa: B008
    deployment = load_deployment("sim_realtime")
    return Recorder(graph.add(Node("listener")), recorded_of(deployment), config, free=free, **options)


def read(folder: Path) -> dict[str, list[bytes]]:
    with open_bag(folder) as bag:
        found: dict[str, list[bytes]] = {}
        for message in bag.messages():
            found.setdefault(message.topic, []).append(message.data)
    return found


def is_part_of(found: list[bytes], said: list[bytes]) -> bool:
    """Whether these are messages that follow each other, none missing."""
    first = said.index(found[0])
    return found == said[first : first + len(found)]


def test_a_bag_holds_what_was_published_byte_for_byte(start_ros, tmp_path):
    graph = start_ros()
    robot = graph.add(Speaker(picture_qos=QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)))
    recorder = recorder_on(graph)
    recorder.start(tmp_path / "bag", {"notes": {"operator": "a test"}})
    graph.wait(lambda: sum(recorder.progress().messages.values()) > 90, "messages")
    robot.silent |= {"static_camera", "wrist_camera", "joint_states"}
    graph.spin_for(0.5)  # what is on its way arrives
    report = recorder.stop()
    assert report.finished and not report.dropped and not report.stopped
    found = read(tmp_path / "bag")
    for name, said in robot.said.items():
        assert len(found[name]) == report.messages[name] > 20
        assert found[name][-1] == said[-1] and is_part_of(found[name], said)
    with Reader(tmp_path / "bag") as theirs:
        assert sum(1 for _ in theirs.messages()) == sum(report.messages.values())


def test_publish_time_is_the_stamp_and_log_time_the_arrival(start_ros, tmp_path):
    graph = start_ros()
    graph.add(FakeRobot())
    recorder = recorder_on(graph)
    began_ns = time.time_ns()
    recorder.start(tmp_path / "bag")
    graph.wait(lambda: sum(recorder.progress().messages.values()) > 30, "messages")
    recorder.stop()
    with open_bag(tmp_path / "bag") as bag:
        for message in bag.messages([JOINTS, STATIC]):
            stamp = bag.decode(message).header.stamp
            assert message.publish_time_ns == stamp.sec * 10**9 + stamp.nanosec
            assert began_ns - 10**9 < message.log_time_ns <= time.time_ns()


def test_what_was_said_once_before_is_recorded_too_and_its_quality_kept(start_ros, tmp_path):
    graph = start_ros()
    speaker = graph.add(Node("operator"))
    speaker.create_publisher(String, topics.INSTRUCTION, qos.LATCHED).publish(String(data="open the drawer"))
    recorder = recorder_on(graph)
    recorder.start(tmp_path / "bag")
    graph.wait(lambda: recorder.progress().messages.get("/instruction"), "the latched instruction")
    recorder.stop()
    with open_bag(tmp_path / "bag") as bag:
        assert bag.decode(next(bag.messages(["/instruction"]))).data == "open the drawer"
        offered = bag.topics["/instruction"].qos[0]
        assert (offered["reliability"], offered["durability"]) == ("reliable", "transient_local")
        assert bag.topics["/instruction"].type_hash.startswith("RIHS01_")


def test_publishers_that_come_later_and_offer_less_are_heard(start_ros, tmp_path):
    graph = start_ros()
    recorder = recorder_on(graph)
    recorder.start(tmp_path / "bag")
    graph.spin_for(0.3)
    speaker = graph.add(Node("operator"))
    least = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
    publisher = speaker.create_publisher(String, topics.INSTRUCTION, least)  # expected: latched
    speaker.create_timer(0.05, lambda: publisher.publish(String(data="now")))
    graph.wait(lambda: recorder.progress().messages.get("/instruction"), "an instruction of a volatile publisher")
    recorder.stop()


def test_a_publisher_that_is_not_connected_yet_is_named_until_it_is(start_ros, tmp_path):
    graph = start_ros()
    recorder = recorder_on(graph)
    recorder.start(tmp_path / "bag")
    assert recorder.unmatched() == () and recorder.unmatched(["/instruction"]) == ("/instruction",)
    graph.add(Node("operator")).create_publisher(String, topics.INSTRUCTION, qos.LATCHED)
    graph.wait(lambda: recorder.unmatched(["/instruction"]) == (), "the publisher to be connected")
    recorder.stop()


def test_another_type_on_a_topic_is_told(start_ros, tmp_path):
    graph = start_ros()
    graph.add(Node("odd")).create_publisher(String, topics.JOINT_STATES, 1)
    recorder = recorder_on(graph)
    recorder.start(tmp_path / "bag")
    expected = f"{JOINTS} (somebody publishes std_msgs/msg/String there; expected sensor_msgs/msg/JointState)"
    graph.wait(lambda: expected in recorder.not_recorded, "the wrong type to be told")
    recorder.stop()


def test_a_type_that_is_not_installed_is_told_and_the_rest_recorded(start_ros, tmp_path):
    graph = start_ros()
    graph.add(FakeRobot())
    wanted = (
        Recorded("/tf", "nowhere_msgs/msg/TFMessage", qos.CHUNKS),
        Recorded("joint_states", "sensor_msgs/msg/JointState", qos.CHUNKS),
    )
    recorder = Recorder(graph.add(Node("listener")), wanted, RecorderConfig(), free=lambda _: PLENTY)
    recorder.start(tmp_path / "bag")
    assert recorder.not_recorded == ("/tf (nowhere_msgs/msg/TFMessage is not installed)",)
    graph.wait(lambda: recorder.progress().messages.get(JOINTS), "joint states")
    recorder.stop()


def test_a_folder_in_use_a_second_bag_and_a_full_disk_are_refused(start_ros, tmp_path):
    graph = start_ros()
    recorder = recorder_on(graph)
    (tmp_path / "used").mkdir()
    (tmp_path / "used/mine").write_text("precious")
    with pytest.raises(BagError, match="not empty"):
        recorder.start(tmp_path / "used")
    assert not recorder.recording and (tmp_path / "used/mine").read_text() == "precious"
    recorder.start(tmp_path / "first")
    with pytest.raises(BagError, match=r"already recording into .*first; stop that first"):
        recorder.start(tmp_path / "second")
    recorder.stop()
    with pytest.raises(BagError, match="nothing is being recorded"):
        recorder.stop()
    with pytest.raises(DiskFull, match="recording needs 2048 MiB"):
        recorder_on(graph, free=lambda _: 1 << 20).start(tmp_path / "third")
    assert not (tmp_path / "second").exists() and not (tmp_path / "third").exists()


def test_at_the_floor_of_free_disk_it_stops_by_itself_and_the_bag_is_whole(start_ros, tmp_path):
    graph = start_ros()
    graph.add(FakeRobot())
    free, reports = [PLENTY], []
    recorder = recorder_on(graph, replace(RecorderConfig(), flush_s=0.1), free=lambda _: free[0], on_stopped=reports.append)
    recorder.start(tmp_path / "bag")
    graph.wait(lambda: sum(recorder.progress().messages.values()) > 10, "messages")
    free[0] = 1 << 30
    graph.wait(lambda: reports, "the recorder to stop")
    assert not recorder.recording and "1024 MiB of disk are free; recording needs 2048 MiB" in reports[0].stopped
    assert sum(len(found) for found in read(tmp_path / "bag").values()) == sum(reports[0].messages.values()) > 10


def test_two_recordings_one_after_the_other(start_ros, tmp_path):
    graph = start_ros()
    graph.add(FakeRobot())
    recorder = recorder_on(graph)
    for name in ("first", "second"):
        recorder.start(tmp_path / name)
        graph.wait(lambda: recorder.progress().messages.get(WRIST), "pictures")
        recorder.stop()
        assert read(tmp_path / name)[WRIST]


def call(graph, node: Node, kind: type, name: str, request):
    client = node.create_client(kind, name)
    graph.wait(client.service_is_ready, name)
    answer = client.call_async(request)
    graph.wait(answer.done, f"an answer of {name}")
    return answer.result()


def test_the_node_records_on_request_and_the_bag_passes_its_own_check(start_ros, tmp_path):
    graph = start_ros(
        *(
            "-p",
            "timing.mode:=realtime",
            "-p",
            f"recorder.folder:={tmp_path}",
            "-p",
            "recorder.floor_mib:=0",
            "-p",
            "cameras.max_skew_s:=0.05",
        )
    )
    robot = graph.add(FakeRobot(picture_qos=QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)))
    recorder, asker = graph.add(RecorderNode()), graph.add(Node("asker"))
    bad = call(graph, asker, StartRecording, topics.START_RECORDING, StartRecording.Request(names=["a"]))
    assert not bad.success and "1 names with 0 values" in bad.message
    request = StartRecording.Request(names=["operator"], values=["a test"])
    begun = call(graph, asker, StartRecording, topics.START_RECORDING, request)
    assert begun.success and Path(begun.bag).parent == tmp_path, begun.message
    # The nodes of the deployment do not run here, which is said; the robot that does has been waited for.
    assert "/policy" in begun.message and robot.get_name() not in begun.message
    assert not call(graph, asker, StartRecording, topics.START_RECORDING, request).success
    graph.wait(lambda: recorder.recorder.progress().messages.get(WRIST, 0) > 60, "two seconds of pictures")
    robot.silent |= {"static_camera", "wrist_camera", "joint_states"}
    ended = call(graph, asker, StopRecording, topics.STOP_RECORDING, StopRecording.Request())
    assert ended.success and ended.bag == begun.bag and ended.dropped == 0 and ended.messages > 180 and ended.size > 0
    assert not call(graph, asker, StopRecording, topics.STOP_RECORDING, StopRecording.Request()).success
    with open_bag(Path(begun.bag)) as bag:
        assert bag.metadata["notes"] == {"operator": "a test"}
        assert bag.metadata["parameters"]["timing.mode"] == "realtime"
        contract = contract_of(bag.metadata, "bag")
    assert contract is not None and {topic.name for topic in contract.topics if topic.required} == {STATIC, WRIST, JOINTS}
    missing = [
        str(finding) for finding in check_bag(Path(begun.bag)) if "missing: " in finding.text or "decoded" in finding.text
    ]
    assert missing == []


def test_the_diagnostics_say_that_it_stopped_by_itself(start_ros, tmp_path):
    graph = start_ros("-p", "recorder.flush_s:=0.1", "-p", "recorder.floor_mib:=0")
    node, heard = graph.add(RecorderNode()), []
    graph.add(FakeRobot())
    graph.add(Node("operator")).create_subscription(DiagnosticArray, topics.DIAGNOSTICS, heard.append, qos.DIAGNOSTICS)
    free = [PLENTY]
    node.recorder._free = lambda _: free[0]
    node.recorder._config = replace(node.recorder._config, floor_mib=100)
    node.start(str(tmp_path / "bag"), {})
    free[0] = 0

    def said(level: bytes, text: str) -> bool:
        statuses = [status for array in heard for status in array.status if status.name == "recorder: recording"]
        return any(status.level == level and text in status.message for status in statuses)

    graph.wait(lambda: said(b"\x02", "stopped by itself"), "an ERROR in the diagnostics")
    assert not node.recorder.recording


@pytest.fixture
def recorder_process(environment, tmp_path):
    """The recorder node as a process of its own, recording from its start; killed with the test."""
    started = []

    def start() -> subprocess.Popen:
        program = Path(get_package_prefix("worldagen_ros")) / "lib/worldagen_ros/recorder_node"
        values = {
            "recorder.folder": tmp_path / "bags",
            "autostart": "true",
            "recorder.autostart": "true",
            "recorder.floor_mib": 0,
            "timing.mode": "realtime",
        }
        arguments = [item for key, value in values.items() for item in ("-p", f"{key}:={value}")]
        started.append(
            subprocess.Popen([str(program), "--ros-args", *arguments], env=environment, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def only_bag(tmp_path: Path) -> Path:
    return next(iter((tmp_path / "bags").iterdir()))


def size_of(tmp_path: Path) -> int:
    return sum(file.stat().st_size for file in (tmp_path / "bags").glob("*/*.mcap"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_end_it_finishes_its_bag_within_two_seconds(start_ros, recorder_process, tmp_path, number):
    graph = start_ros()
    graph.add(FakeRobot())
    process = recorder_process()
    graph.wait(lambda: size_of(tmp_path) > 20_000, "a bag with content", patience_s=40.0)
    process.send_signal(number)
    process.wait(timeout=2.0)
    with open_bag(only_bag(tmp_path)) as bag:
        assert bag.counts[JOINTS] > 0


@pytest.mark.timeout(180)
def test_killed_at_any_moment_it_loses_at_most_two_seconds(start_ros, recorder_process, tmp_path):
    graph = start_ros()
    robot = graph.add(Speaker())
    for round_ in range(3):
        process = recorder_process()
        graph.wait(lambda: size_of(tmp_path) > 20_000, "a bag with content", patience_s=40.0)
        graph.spin_for(0.2 + 0.37 * round_)
        process.send_signal(signal.SIGKILL)
        killed_ns = time.time_ns()
        process.wait(timeout=10)
        bag = only_bag(tmp_path)
        recovery = recover_bag(bag, tmp_path / f"saved{round_}")
        found = read(recovery.folder)
        for name in (STATIC, WRIST, JOINTS):
            assert is_part_of(found[name], robot.said[name])
            assert (killed_ns - recovery.topics[name].end_ns) * 1e-9 < 2.0
        for file in bag.iterdir():
            file.unlink()
        bag.rmdir()


def test_worldagen_bag_record_records_a_running_stack(start_ros, environment, tmp_path):
    graph = start_ros()
    graph.add(FakeRobot())
    program = str(Path(sys.executable).parent / "worldagen")
    options = ["--deployment", "sim_realtime", "--seconds", "2", "--set", "recorder.floor_mib=0"]
    done = subprocess.Popen(
        [program, "bag", "record", str(tmp_path / "bag"), *options], env=environment, stdout=subprocess.PIPE, text=True
    )
    graph.wait(lambda: done.poll() is not None, "the end of the recording", patience_s=60.0)
    text = done.communicate()[0]
    assert done.returncode == 0 and "recording into" in text and "/wrist_camera/image_raw" in text
    levels = {finding.where: finding.level for finding in check_bag(tmp_path / "bag")}
    assert levels["/instruction"] is Level.OK
    assert os.listdir(tmp_path / "bag")


def test_which_topics_are_recorded_follows_the_deployment():
    names = {item.name for item in recorded_of(load_deployment("sim"))}
    assert {topics.STATIC_IMAGE, topics.JOINT_STATES, topics.ACTION_CHUNK, topics.TASK_STATE, "/tf_static"} <= names
    changed = load_deployment(
        "sim",
        {
            "cameras.transport": "compressed",
            "recorder.skip": "/tf, /tf_static",
            "recorder.also": "/scan:sensor_msgs/msg/LaserScan",
        },
    )
    names = {item.name: item.type for item in recorded_of(changed)}
    assert names["static_camera/image_raw/compressed"] == "sensor_msgs/msg/CompressedImage"
    assert topics.STATIC_IMAGE not in names and "/tf" not in names and names["/scan"] == "sensor_msgs/msg/LaserScan"
    with pytest.raises(ConfigError, match=r"recorder.skip names nothing; there are: static_camera/image_raw"):
        recorded_of(load_deployment("sim", {"recorder.skip": "nothing"}))
    with pytest.raises(ConfigError, match=r"recorder.also names '/scan'; expected e.g. /scan:sensor_msgs"):
        recorded_of(load_deployment("sim", {"recorder.also": "/scan"}))


def test_the_contract_promises_what_the_deployment_decides():
    contract = contract_of_deployment(load_deployment("sim_realtime"), lambda name: f"/left/{name}")
    promised = {topic.name: topic for topic in contract.topics}
    assert promised["/left/static_camera/image_raw"].rate_hz == pytest.approx(30.0)
    assert promised["/left/joint_states"].required and not promised["/left/action_chunk"].required
    assert contract.max_skew_s == 0.02 and contract.pause_s == 0.0
    lockstep = contract_of_deployment(load_deployment("sim"), str)
    rates = {topic.name: topic.rate_hz for topic in lockstep.topics}
    assert rates["static_camera/image_raw"] == 0.0 and rates["joint_states"] == pytest.approx(30.0)
    assert lockstep.pause_s == 0.5
