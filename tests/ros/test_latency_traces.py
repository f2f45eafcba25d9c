"""Every decision is traced from the picture to the first command; `worldagen latency` tells it live and from a bag."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from fakes import HOME, JOINTS, FakeDecider, FakeRobot
from rclpy.serialization import serialize_message
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from test_policy_node import Listener

from worldagen.bags.reader import open_bag
from worldagen.bags.traces import traced
from worldagen.bags.types import Topic
from worldagen.bags.writer import BagWriter
from worldagen.cli import main
from worldagen.errors import BagError
from worldagen.latency import STAGES, Trace
from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import LatencyTrace
from worldagen_ros import messages, qos, topics
from worldagen_ros.command_node import CommandNode
from worldagen_ros.config import RecorderConfig
from worldagen_ros.definitions import schema_of, topic_of
from worldagen_ros.policy_node import PolicyNode
from worldagen_ros.recorded import OTHERS
from worldagen_ros.recorder import Recorder

NAMES = [stage.name for stage in STAGES]
CHUNK = "worldagen_msgs/msg/ActionChunk"
PATIENT = [
    f"command:command.max_{what}_s:=1.0" for what in ("tick_gap", "state_age", "chunk_age")
]  # a loaded machine is no fault


class Standing(FakeDecider):
    """Stands still, after some thinking."""

    def decide(self, samples):
        chunk = super().decide(samples)
        time.sleep(0.005)
        rows = np.zeros((2, 7))
        return replace(chunk, period_s=0.05, rows=rows, inference_s=0.003, preprocess_s=0.001, encode_s=0.001)


def set_up(start_ros, *parameters: str):
    return start_ros(*(part for parameter in (*parameters, *PATIENT) for part in ("-p", parameter)))


def test_a_trace_says_when_each_step_was_passed_and_can_be_read_live_and_from_a_bag(
    start_ros, environment, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("worldagen_ros.policy_node.DECIDERS", {"network": lambda *_: Standing()})
    graph = set_up(start_ros, "policy:policy.kind:=network", "timing.mode:=realtime", "policy:cameras.period_s:=0.1")
    graph.add(FakeRobot(period_s=0.1))
    graph.add(PolicyNode())
    graph.add(CommandNode())
    listener, told = graph.add(Listener()), []
    listener.create_subscription(LatencyTrace, topics.LATENCY, told.append, qos.CHUNKS)
    recorder = Recorder(
        listener, [one for one in OTHERS if one.name in (topics.LATENCY, topics.ACTION_CHUNK)], RecorderConfig()
    )
    recorder.start(tmp_path / "bag")
    graph.wait(lambda: len(recorder.publishers) > 1, "the recorder to know both nodes")
    listener.words.publish(String(data="stand still"))
    graph.wait(lambda: len(told) >= 4, "traces")
    traces = [messages.decode_trace(msg) for msg in told]
    for trace in traces:
        assert trace.captured_ns > 0 and list(trace[1:]) == sorted(trace[1:]), trace
    chunks = {chunk.sequence: messages.decode_trace(chunk.trace) for chunk in listener.chunks}
    assert traces[-1]._replace(arrived_ns=0, commanded_ns=0) == chunks[traces[-1].sequence]
    assert [traces[-1].decided_ns - at for at in (traces[-1].preprocessed_ns, traces[-1].encoded_ns)] == [2_000_000, 1_000_000]

    graph.wait(lambda: "ms p50" in listener.texts.get("latency", ""), "the statistics in the diagnostics")
    program = "import sys; from worldagen.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "latency", "--seconds", "600", "--json"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        # Known to the graph is not yet connected, on either side; outliers of discovery took seconds.
        graph.wait(lambda: listener.count_subscribers(topics.LATENCY) >= 3, "the command to listen", 60.0)
        heard = len(told)
        graph.wait(lambda: len(told) >= heard + 30, "three seconds of traces")
        process.send_signal(signal.SIGINT)
        graph.wait(lambda: process.poll() is not None, "its end")
        live = json.loads(process.communicate()[0])
    assert process.returncode == 0 and live["traces"] >= 1
    assert list(live["stages"]) == NAMES and live["stages"]["total"]["p50_ms"] > 0

    recorder.stop()
    assert main(["latency", str(tmp_path / "bag"), "--json"]) == 0
    recorded = json.loads(capsys.readouterr().out)
    assert recorded["traces"] >= 4 and recorded["stages"]["command"]["count"] == recorded["traces"]
    assert main(["latency", str(tmp_path / "bag")]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == f"{recorded['traces']} traces"
    assert [line.split()[0] for line in table[2:]] == NAMES


def test_in_lockstep_the_command_ends_the_trace_and_simulation_time_is_not_taken_for_a_camera(start_ros):
    graph = set_up(start_ros)
    graph.add(CommandNode())
    listener, told = graph.add(Listener()), []
    listener.create_subscription(LatencyTrace, topics.LATENCY, told.append, qos.CHUNKS)
    chunks = listener.create_publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.CHUNKS)
    joints = listener.create_publisher(JointState, topics.JOINT_STATES, qos.states_out())
    graph.wait(lambda: chunks.get_subscription_count() > 1 and joints.get_subscription_count(), "discovery")
    stamp_ns = 5_000_000_000
    for sequence, frame_id in enumerate(("world", "elsewhere", "world")):
        chunk = ActionChunk(stamp_ns, sequence, 0.05, "calvin", np.zeros((1, 7)))
        msg = messages.encode_chunk(chunk, frame_id)
        now_ns = time.time_ns()
        if sequence:  # the first comes from a demonstrator
            msg.trace = messages.encode_trace(Trace(sequence, stamp_ns, *[now_ns] * 7))
        chunks.publish(msg)
        joints.publish(messages.encode_joints(JOINTS, HOME, np.zeros(7), stamp_ns))
        graph.wait(lambda: len(listener.chunks) > sequence, "the chunk")  # noqa: B023
        graph.spin_for(0.1)
        stamp_ns += 50_000_000
    graph.wait(lambda: told, "the trace")
    assert [msg.sequence for msg in told] == [2]  # refused chunks move nothing
    trace = messages.decode_trace(told[0])
    assert trace.published_ns <= trace.arrived_ns <= trace.commanded_ns
    graph.wait(lambda: "inside" in listener.texts.get("latency", ""), "the diagnostics")
    assert listener.levels["latency"] == [0]


def bag_of(folder, topic: Topic, data: bytes):
    with BagWriter(folder) as writer:
        writer.add_topic(topic)
        writer.write(topic.name, data, 1, 1)
    return open_bag(folder)


def old_schema() -> str:
    """Of a chunk, as it was before traces."""
    return "\n".join(line for line in schema_of(CHUNK).splitlines() if not line.startswith("LatencyTrace trace"))


def test_bags_from_before_traces_stay_readable_and_say_that_they_have_none(tmp_path):
    store = Typestore()
    store.register(get_types_from_msg(old_schema(), CHUNK))
    sent = store.deserialize_cdr(_old_bytes(store), CHUNK)
    assert not hasattr(sent, "trace")
    with bag_of(tmp_path / "old", Topic("/action_chunk", CHUNK, old_schema()), _old_bytes(store)) as bag:
        chunk = messages.decode_chunk(bag.decode(next(iter(bag.messages()))), "world")
        assert (chunk.sequence, chunk.convention) == (7, "calvin") and chunk.rows[0].tolist() == [0.5] * 7
        with pytest.raises(BagError, match=r"no latency traces; it has /action_chunk. Bags from before traces"):
            traced(bag)


def _old_bytes(store: Typestore) -> bytes:
    types = store.types
    vector = types["geometry_msgs/msg/Vector3"](0.5, 0.5, 0.5)
    header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](1, 2), "world")
    row = types["worldagen_msgs/msg/EndEffectorAction"](vector, vector, 0.5)
    period = types["builtin_interfaces/msg/Duration"](0, 50_000_000)
    return bytes(store.serialize_cdr(types[CHUNK](header, 7, period, "calvin", "", 0.01, [row]), CHUNK))


def test_without_a_command_node_a_bag_tells_what_its_chunks_know(tmp_path):
    msg = messages.encode_chunk(ActionChunk(10**18, 3, 0.05, "calvin", np.zeros((1, 7))), "world")
    msg.trace = messages.encode_trace(Trace(3, 10**18, *(10**18 + step * 1_000_000 for step in range(1, 8))))
    with bag_of(tmp_path / "bag", topic_of("/left/action_chunk", CHUNK), serialize_message(msg)) as bag:
        told = {report.name: report for report in traced(bag, "left").report()}
        assert told["camera"].p50_s == pytest.approx(0.001) and told["command"].count == 0
        with pytest.raises(BagError, match="no latency traces in namespace right"):
            traced(bag, "right")


def test_a_trace_comes_back_as_it_was():
    trace = Trace(*range(1, 12))
    assert messages.decode_trace(messages.encode_trace(trace)) == trace
