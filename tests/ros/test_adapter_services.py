"""Adapters in the running policy node: swapped between two chunks, refused in words, compared while the base drives."""

import errno
import json
import os
import shutil
import signal
import subprocess
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest
from adaptation_making import make_adapter, small_checkpoint
from ament_index_python.packages import get_package_prefix
from fakes import FakeRobot
from rclpy.node import Node
from std_msgs.msg import String

from worldagen.errors import AdaptationError
from worldagen_msgs.msg import ActionChunk, PolicyStatus, ShadowReport
from worldagen_msgs.srv import ListAdapters, LoadAdapter, ShadowAdapter
from worldagen_ros import qos, topics
from worldagen_ros.policy_node import PolicyNode

PATIENT = ("timing.mode:=realtime", "cameras.period_s:=0.1")  # with a robot at 10 Hz, on a busy machine
SERVICES = {"load": LoadAdapter, "list": ListAdapters, "shadow": ShadowAdapter}
NAMES = {"load": topics.LOAD_ADAPTER, "list": topics.LIST_ADAPTERS, "shadow": topics.SHADOW_ADAPTER}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """A small checkpoint, and adapters for it of every kind."""
    root = tmp_path_factory.mktemp("adapters")
    checkpoint = small_checkpoint(root / "checkpoint")
    accepted, rejected = make_adapter(checkpoint, root), make_adapter(checkpoint, root, verdict="rejected")
    foreign = make_adapter(small_checkpoint(root / "other", seed=1), root)
    damaged = root / "damaged"
    shutil.copytree(accepted, damaged)
    weights = damaged / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    return SimpleNamespace(
        checkpoint=checkpoint, accepted=accepted, rejected=rejected, foreign=foreign, damaged=damaged, nowhere=root / "nowhere"
    )


class Operator(Node):
    """Hears what the policy says and asks for adapters."""

    def __init__(self) -> None:
        super().__init__("operator")
        self.chunks: list[ActionChunk] = []
        self.reports: list[ShadowReport] = []
        self.status = PolicyStatus()
        self.words = self.create_publisher(String, topics.INSTRUCTION, qos.LATCHED)
        self.create_subscription(ActionChunk, topics.ACTION_CHUNK, self.chunks.append, qos.CHUNKS)
        self.create_subscription(ShadowReport, topics.SHADOW_REPORT, self.reports.append, qos.LATCHED)
        self.create_subscription(PolicyStatus, topics.POLICY_STATUS, lambda msg: setattr(self, "status", msg), qos.LATCHED)
        self.asking = {name: self.create_client(kind, NAMES[name]) for name, kind in SERVICES.items()}


class Scene:
    """A robot, an operator and a policy node with those parameters."""

    def __init__(self, start_ros, *parameters: str) -> None:
        self.graph = start_ros(*(part for parameter in (*PATIENT, *parameters) for part in ("-p", parameter)))
        self.policy = self.graph.add(PolicyNode())
        self.graph.add(FakeRobot(period_s=0.1))
        self.operator = self.graph.add(Operator())
        self.graph.wait(lambda: all(client.service_is_ready() for client in self.operator.asking.values()), "the services")

    @property
    def chunks(self) -> list[ActionChunk]:
        return self.operator.chunks

    def follow(self, words: str = "push the block") -> None:
        self.graph.wait(lambda: self.policy.count_subscribers(topics.ACTION_CHUNK), "the ears of the operator")
        self.operator.words.publish(String(data=words))
        self.wait_for_more(1)

    def wait_for_more(self, count: int) -> None:
        wanted = len(self.chunks) + count
        self.graph.wait(lambda: len(self.chunks) >= wanted, f"{count} more chunks")

    def ask(self, what: str, **fields):
        answer = self.operator.asking[what].call_async(SERVICES[what].Request(**fields))
        self.graph.wait(answer.done, f"the answer of {NAMES[what]}")
        return answer.result()

    def load(self, folder: Path | str, **fields) -> LoadAdapter.Response:
        return self.ask("load", path=str(folder), **fields)


@pytest.fixture
def scene(start_ros, made) -> Scene:
    return Scene(start_ros, "policy.kind:=network", f"policy.checkpoint:={made.checkpoint}")


def test_an_adapter_drives_from_a_chunk_on_and_the_base_comes_back(scene, made):
    scene.follow()
    assert (scene.chunks[-1].adapter_id, scene.operator.status.adapter_id) == ("", "")
    name = made.accepted.name
    told = scene.load(made.accepted)
    assert (told.success, told.adapter_id, told.message) == (True, name, f"adapter {name} is active")
    scene.graph.wait(lambda: scene.operator.status.adapter_id == name, "the status")
    scene.graph.wait(lambda: scene.chunks[-1].adapter_id == name, "a chunk of the adapter")
    listed = scene.ask("list")
    assert (list(listed.adapter_ids), listed.active_adapter_id) == ([name], name)
    told = scene.load("")
    assert (told.success, told.adapter_id, told.message) == (True, "", "the base is active")
    scene.graph.wait(lambda: scene.operator.status.adapter_id == "", "the status")
    scene.graph.wait(lambda: scene.chunks[-1].adapter_id == "", "a chunk of the base")
    listed = scene.ask("list")
    assert (list(listed.adapter_ids), listed.active_adapter_id) == ([name], "")  # loaded still
    ids = [chunk.adapter_id for chunk in scene.chunks]
    assert [who for who, _ in groupby(ids)] == ["", name, ""]
    assert [chunk.sequence for chunk in scene.chunks] == list(range(len(ids)))  # one history, whoever answers


def test_what_is_refused_changes_nothing_and_says_why(scene, made):
    assert scene.load(made.accepted).success
    scene.follow()
    for folder, words in (
        (made.damaged, "damaged"),
        (made.rejected, "rejected by its gate"),
        (made.foreign, "belongs to a base with the digest"),
        (made.nowhere, "no such file"),
    ):
        told = scene.load(folder)
        assert not told.success and words in told.message and told.adapter_id == made.accepted.name
        told = scene.ask("shadow", path=str(folder), decisions=1) if folder != made.rejected else None
        assert told is None or (not told.success and words in told.message)
    scene.wait_for_more(2)
    assert {chunk.adapter_id for chunk in scene.chunks} == {made.accepted.name} == {scene.operator.status.adapter_id}
    assert scene.ask("list").active_adapter_id == made.accepted.name
    assert not (made.rejected / "activations.jsonl").exists()


@pytest.mark.parametrize(("key", "value"), [("id", 7), ("base", None), ("files", "adapter_model.safetensors"), ("recipe", [])])
def test_a_manifest_that_makes_no_sense_is_refused_and_the_node_lives(scene, made, tmp_path, key, value):
    folder = tmp_path / "odd"
    shutil.copytree(made.accepted, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, key: value}), "utf-8")
    told = scene.load(folder)
    assert not told.success and f"{key} is {value!r}" in told.message
    assert scene.load(made.accepted).success


def test_a_rejected_adapter_drives_where_that_is_allowed_and_it_is_recorded(scene, made, tmp_path):
    folder = tmp_path / made.rejected.name
    shutil.copytree(made.rejected, folder)
    told = scene.load(folder, allow_rejected=True)
    assert told.success and told.adapter_id == folder.name
    line = json.loads((folder / "activations.jsonl").read_text("utf-8"))
    assert (line["verdict"], line["override"]) == ("rejected", "asked for on policy/load_adapter")


def test_a_scripted_expert_takes_no_adapter_and_says_so(start_ros, made):
    scene = Scene(start_ros, "policy.kind:=expert")
    told = scene.load(made.accepted)
    assert not told.success and told.message == "the policy is 'expert'; only a network takes adapters (policy.kind)"
    assert scene.ask("shadow", path=str(made.accepted), decisions=1).message == told.message
    assert list(scene.ask("list").adapter_ids) == []


def test_an_adapter_is_compared_as_often_as_asked_for_while_the_base_drives(scene, made):
    scene.follow()
    refused = scene.ask("shadow", path=str(made.rejected), decisions=0)
    assert not refused.success and "expected 1 or more" in refused.message
    told = scene.ask("shadow", path=str(made.rejected), decisions=3)  # nobody acts on it, whatever its gate said
    assert told.success and told.message == f"comparing {made.rejected.name} in 3 decisions"
    scene.graph.wait(lambda: [report.decisions for report in scene.operator.reports][-1:] == [3], "three comparisons")
    scene.wait_for_more(2)
    assert [report.decisions for report in scene.operator.reports] == [1, 2, 3]
    report = scene.operator.reports[-1]
    assert (report.adapter_id, report.wanted) == (made.rejected.name, 3) and 0 < report.translation_p99 < 1
    assert report.header.stamp in [chunk.header.stamp for chunk in scene.chunks]
    assert {chunk.adapter_id for chunk in scene.chunks} == {""} == {scene.operator.status.adapter_id}


def test_a_comparison_can_be_stopped(scene, made):
    scene.follow()
    scene.ask("shadow", path=str(made.accepted), decisions=1000)
    scene.graph.wait(lambda: scene.operator.reports, "a comparison")
    told = scene.ask("shadow", path="")
    assert told.success and told.message == "comparing nothing"
    count = len(scene.operator.reports)
    scene.wait_for_more(3)
    assert len(scene.operator.reports) <= count + 1  # one may have been on its way


def test_swaps_while_it_decides_lose_no_chunk(scene, made):
    scene.follow()
    for swap in range(12):
        assert scene.load("" if swap % 2 else made.accepted).success
        if swap % 3 == 0:
            scene.wait_for_more(1)
    scene.wait_for_more(1)
    assert [chunk.sequence for chunk in scene.chunks] == list(range(len(scene.chunks)))
    assert len(scene.chunks) >= scene.policy.loop.decisions - 1  # one may be on its way
    assert {chunk.adapter_id for chunk in scene.chunks} == {"", made.accepted.name}


def test_a_policy_begins_with_the_adapter_of_its_parameter(start_ros, made):
    scene = Scene(
        start_ros, "policy.kind:=network", f"policy.checkpoint:={made.checkpoint}", f"policy.adapter:={made.accepted}"
    )
    scene.graph.wait(lambda: scene.operator.status.adapter_id == made.accepted.name, "the status")
    scene.follow()
    assert scene.chunks[0].adapter_id == made.accepted.name


@pytest.mark.parametrize(("which", "words"), [("rejected", "rejected by its gate"), ("damaged", "damaged")])
def test_a_policy_does_not_begin_with_an_adapter_that_is_refused(start_ros, made, which, words):
    with pytest.raises(AdaptationError, match=words):
        Scene(
            start_ros,
            "policy.kind:=network",
            f"policy.checkpoint:={made.checkpoint}",
            f"policy.adapter:={getattr(made, which)}",
        )


def test_a_policy_that_may_begins_with_a_rejected_adapter_and_that_is_recorded(start_ros, made, tmp_path):
    folder = tmp_path / made.rejected.name
    shutil.copytree(made.rejected, folder)
    Scene(
        start_ros,
        "policy.kind:=network",
        f"policy.checkpoint:={made.checkpoint}",
        f"policy.adapter:={folder}",
        "policy.allow_rejected_adapter:=true",
    )
    line = json.loads((folder / "activations.jsonl").read_text("utf-8"))
    assert line["override"] == "policy.allow_rejected_adapter"


class PolicyProcess:
    """A policy node as a process of its own."""

    def __init__(self, environment: dict[str, str], checkpoint: Path) -> None:
        program = Path(get_package_prefix("worldagen_ros")) / "lib/worldagen_ros/policy_node"
        parameters = ("autostart:=true", "policy.kind:=network", f"policy.checkpoint:={checkpoint}", *PATIENT)
        self.process = subprocess.Popen(
            [program, "--ros-args", *(part for parameter in parameters for part in ("-p", parameter))],
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> int:
        self.process.kill()
        return self.process.wait(timeout=10)


class Pipe:
    """A file in the place of another, from which nothing comes while this is open."""

    def __init__(self, path: Path) -> None:
        path.unlink()
        os.mkfifo(path)
        self._path, self._end = path, -1

    def is_read(self) -> bool:
        """Whether somebody has opened it, and waits."""
        try:
            self._end = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return False
        return True

    def close(self) -> None:
        if self._end >= 0:
            os.close(self._end)


@pytest.mark.timeout(180)
def test_a_process_answers_every_swap_and_one_that_is_killed_in_mid_swap_comes_up_on_the_base(
    start_ros, environment, made, tmp_path
):
    half = tmp_path / "half"  # an adapter whose weights take for ever to read
    shutil.copytree(made.accepted, half)
    pipe = Pipe(half / "adapter_model.safetensors")
    graph = start_ros()
    operator = graph.add(Operator())
    graph.add(FakeRobot(period_s=0.1))
    load = operator.asking["load"]
    first = second = None
    try:
        first = PolicyProcess(environment, made.checkpoint)
        graph.wait(lambda: operator.status.policy == "network", "the policy", 60.0)
        graph.wait(load.service_is_ready, "the service")
        operator.words.publish(String(data="push the block"))
        graph.wait(lambda: operator.chunks, "a chunk")
        for swap in range(40):  # a process of its own sleeps until something wakes it: an answer must
            answer = load.call_async(LoadAdapter.Request(path="" if swap % 2 else str(made.accepted)))
            graph.wait(answer.done, f"the answer to swap {swap}")
            assert answer.result().success
        assert {chunk.adapter_id for chunk in operator.chunks} <= {"", made.accepted.name}
        answer = load.call_async(LoadAdapter.Request(path=str(half)))
        graph.wait(pipe.is_read, "the swap to begin", 30.0)
        assert first.kill() == -signal.SIGKILL and not answer.done()
        operator.status = PolicyStatus()
        operator.chunks.clear()
        second = PolicyProcess(environment, made.checkpoint)
        graph.wait(lambda: operator.status.policy == "network", "the policy again", 60.0)
        assert operator.status.adapter_id == ""
        operator.words.publish(String(data="push the block"))
        graph.wait(lambda: operator.chunks, "a chunk")
        assert operator.chunks[0].adapter_id == ""
    finally:
        pipe.close()
        for started in (first, second):
            if started is not None and started.process.poll() is None:
                started.kill()
