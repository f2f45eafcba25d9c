"""The action adapt: a bag in, a judged adapter out; what goes wrong is told in words and leaves nothing behind."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import yaml
from action_msgs.msg import GoalStatus
from adaptation_making import RECIPE, make_adapter, small_checkpoint, write_exploration
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future

from worldagen.adaptation.adapter import read_manifest
from worldagen.adaptation.recipe import GateSection
from worldagen.adaptation.request import FRAMES, JUDGING, AdaptationRequest, Adapted, Progress
from worldagen_msgs.action import Adapt
from worldagen_msgs.msg import ShadowReport
from worldagen_msgs.srv import LoadAdapter, ShadowAdapter
from worldagen_ros import adapt_node, qos, topics
from worldagen_ros.adapt_node import AdaptNode

Result, Feedback = Adapt.Result, Adapt.Feedback
ANYTHING = GateSection(least_reduction=-100.0, translation_p99_m=1.0, rotation_p99_rad=10.0, gripper_flips=1.0, resamples=200)
STARTING_S = 150.0  # patience with a worker that imports torch on a busy machine
END_S = 2.0  # from a cancellation to the end; the rest is the busy machine's


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> SimpleNamespace:
    """Bags, a checkpoint, a recipe that is soon done and one that is not."""
    folder = tmp_path_factory.mktemp("place")
    recipes = {
        "short": replace(RECIPE, gate=ANYTHING),
        "long": replace(RECIPE, optimiser=replace(RECIPE.optimiser, passes=10_000), gate=ANYTHING),
    }
    for name, recipe in recipes.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(asdict(recipe)), "utf-8")
    return SimpleNamespace(
        bags=str(write_exploration(folder / "bags")),
        checkpoint=small_checkpoint(folder / "checkpoint"),
        **{name: str(folder / f"{name}.yaml") for name in recipes},
    )


class Operator(Node):
    """Sends goals and hears what comes of them."""

    def __init__(self) -> None:
        super().__init__("operator")
        self.client = ActionClient(self, Adapt, topics.ADAPT)
        self.told: list[tuple[float, Adapt.Feedback]] = []  # when, what
        self.lines: list[str] = []
        self.create_subscription(Log, "/rosout", lambda msg: self.lines.append(msg.msg), 100)

    @property
    def stages(self) -> list[int]:
        """In the order in which they were first told."""
        return list(dict.fromkeys(feedback.stage for _, feedback in self.told))

    def destroy_node(self) -> None:
        self.client.destroy()
        super().destroy_node()


class FakePolicy(Node):
    """Serves what a policy node serves about adapters: every wanted comparison at once, or none."""

    def __init__(self, reports: bool = True, moves_m: float = 0.001) -> None:
        super().__init__("policy")
        self.reports, self.moves_m, self.refusal = reports, moves_m, ""
        self.loaded: list[str] = []
        self.compared: list[str] = []
        self.answers: Future | None = None  # a load is answered when it is done
        self.told = self.create_publisher(ShadowReport, topics.SHADOW_REPORT, qos.LATCHED)
        serve: Any = self.create_service
        serve(LoadAdapter, topics.LOAD_ADAPTER, self.on_load)
        serve(ShadowAdapter, topics.SHADOW_ADAPTER, self.on_shadow)

    async def on_load(self, request, response):
        self.loaded.append(request.path)
        if self.answers is not None:
            await self.answers
        response.success, response.message = not self.refusal, self.refusal
        return response

    def on_shadow(self, request, response):
        self.compared.append(request.path)
        response.success, response.message = not self.refusal, self.refusal
        for done in range(1, request.decisions + 1) if self.reports and not self.refusal else ():
            report = ShadowReport(adapter_id=Path(request.path).name, decisions=done, wanted=request.decisions)
            report.translation_p99 = self.moves_m
            self.told.publish(report)
        return response


class Scene:
    """An adapt node and an operator."""

    def __init__(self, graph, folder: Path, bags: str) -> None:
        self.graph, self.folder, self.bags = graph, folder, bags
        self.node = graph.add(AdaptNode())
        self.operator = graph.add(Operator())
        graph.wait(self.operator.client.server_is_ready, "the action")

    def add_policy(self, **options) -> FakePolicy:
        policy = self.graph.add(FakePolicy(**options))
        self.graph.wait(lambda: self.node.load.service_is_ready() and self.node.shadow.service_is_ready(), "its services")
        self.graph.wait(policy.told.get_subscription_count, "the ears of the adapt node")
        return policy

    def send(self, **goal):
        hear = lambda msg: self.operator.told.append((time.monotonic(), msg.feedback))  # noqa: E731
        goal = {"bag": self.bags, **goal}
        future = self.operator.client.send_goal_async(Adapt.Goal(**goal), feedback_callback=hear)
        self.graph.wait(future.done, "an answer to the goal")
        return future.result()

    def end_of(self, goal, patience_s: float = 20.0):
        future = goal.get_result_async()
        self.graph.wait(future.done, "the end of the goal", patience_s)
        return future.result()

    def run(self, patience_s: float = 20.0, **goal):
        accepted = self.send(**goal)
        assert accepted.accepted
        return self.end_of(accepted, patience_s).result

    def wait_for_stage(self, stage: int) -> None:
        self.graph.wait(lambda: stage in self.operator.stages, f"stage {stage}", STARTING_S)

    def left(self) -> list[Path]:
        """What is in the adapters' folder."""
        return list(self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def make_scene(start_ros, place, tmp_path) -> Callable[..., Scene]:
    def make(*parameters: str) -> Scene:
        folder = tmp_path / "adapters"
        told = (
            f"policy.checkpoint:={place.checkpoint}",
            f"adapt.folder:={folder}",
            f"adapt.recipe:={place.short}",
            *parameters,
        )
        return Scene(start_ros(*(part for parameter in told for part in ("-p", parameter))), folder, place.bags)

    return make


class DoneAtOnce:
    """In the place of the process: an adapter is there, and waits for the comparison if one was asked for."""

    pid = 0
    done = True
    progress = Progress(JUDGING, 1, 1, 0.1)

    def __init__(self, request: AdaptationRequest, command: str) -> None:
        self.folder = make_adapter(Path(request.checkpoint), Path(request.out), size=0.01)
        if request.further_checks:
            manifest = read_manifest(self.folder)
            pending = [{"name": name, "passed": False, "reason": "not made yet"} for name in request.further_checks]
            manifest["gate"] = {"verdict": "rejected", "reasons": ["FAILED: shadow: not made yet"], "checks": pending}
            (self.folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")

    def result(self) -> Adapted:
        gate = read_manifest(self.folder)["gate"]
        told = (self.folder.name, str(self.folder), gate["verdict"] == "accepted", tuple(gate["reasons"]))
        return Adapted(*told, 0.2, 0.1, 6, 6, {}, 1.0)

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def quick_scene(make_scene, monkeypatch) -> Callable[..., Scene]:
    """A scene whose adaptations are done at once."""
    monkeypatch.setattr(adapt_node, "AdaptationProcess", DoneAtOnce)
    return make_scene


def verdict_of(scene: Scene) -> str:
    (folder,) = scene.left()
    return read_manifest(folder)["gate"]["verdict"]


@pytest.mark.timeout(360)
def test_a_goal_goes_through_its_stages_to_an_adapter_that_drives(make_scene, place):
    scene = make_scene()
    policy = scene.add_policy()
    goal = scene.send(activate=True, shadow_decisions=2)
    second = scene.send()
    assert goal.accepted and not second.accepted
    scene.graph.wait(lambda: any("an adaptation is under way" in line for line in scene.operator.lines), "the reason")
    ended = scene.end_of(goal, STARTING_S)
    told = ended.result
    assert (ended.status, told.verdict) == (GoalStatus.STATUS_SUCCEEDED, Result.ACCEPTED), list(told.reasons)
    assert told.activated and 0 < told.loss_after < told.loss_before
    assert [reason.split(":")[1] for reason in told.reasons][-3:] == [
        f" shadow {n}" for n in ("translation", "rotation", "gripper")
    ]
    assert all(reason.startswith("passed: ") for reason in told.reasons)
    (folder,) = scene.left()
    assert folder.name == told.adapter_id and verdict_of(scene) == "accepted"
    assert (policy.compared, policy.loaded) == ([str(folder)], [str(folder)])
    assert scene.operator.stages == sorted(scene.operator.stages) and scene.operator.stages[0] == Feedback.READING
    assert scene.operator.stages[-1] == Feedback.SHADOWING
    when = np.array([at_s for at_s, _ in scene.operator.told])
    assert 0.2 <= np.median(np.diff(when)) <= 0.5  # 2 to 5 a second, from the start on


@pytest.mark.timeout(360)
def test_a_goal_is_cancelled_in_training_and_nothing_is_left(make_scene, place):
    scene = make_scene()
    goal = scene.send(recipe=place.long)
    scene.wait_for_stage(Feedback.TRAINING)
    scene.graph.wait(lambda: np.isfinite(scene.operator.told[-1][1].loss), "a loss")
    assert scene.operator.told[-1][1].windows > 0 and scene.operator.told[-1][1].time_left > 0
    asked_s = time.monotonic()
    canceled = goal.cancel_goal_async()
    ended = scene.end_of(goal)
    assert time.monotonic() - asked_s < END_S + 2.0 and canceled.done()
    assert (ended.status, ended.result.verdict) == (GoalStatus.STATUS_CANCELED, Result.CANCELED)
    assert "nothing was written" in ended.result.reasons[0] and ended.result.adapter_id == ""
    assert scene.left() == []


@pytest.mark.timeout(360)
def test_a_worker_that_is_killed_is_a_fault_in_words_and_nothing_is_left(make_scene, place):
    scene = make_scene()
    goal = scene.send(recipe=place.long)
    scene.wait_for_stage(Feedback.TRAINING)
    worker = scene.node.process.pid
    assert list(Path(tempfile.gettempdir()).glob(f"{FRAMES}{worker}-*"))
    os.kill(worker, signal.SIGKILL)
    ended = scene.end_of(goal)
    assert (ended.status, ended.result.verdict) == (GoalStatus.STATUS_ABORTED, Result.FAULT)
    assert "killed by SIGKILL" in ended.result.reasons[0] and "Lower `batch`" in ended.result.reasons[0]
    assert scene.left() == [] == list(Path(tempfile.gettempdir()).glob(f"{FRAMES}{worker}-*"))

    again = scene.send()  # the node takes the next, and one that has hardly begun ends at once, too
    worker = scene.node.process.pid
    asked_s = time.monotonic()
    again.cancel_goal_async()
    ended = scene.end_of(again)
    assert (ended.status, ended.result.verdict) == (GoalStatus.STATUS_CANCELED, Result.CANCELED), ended.result.reasons
    assert time.monotonic() - asked_s < END_S + 2.0
    assert scene.left() == [] and not psutil.pid_exists(worker)


@pytest.mark.timeout(360)
def test_a_folder_without_a_bag_is_a_fault_in_words(make_scene, tmp_path):
    (tmp_path / "empty").mkdir()
    told = make_scene().run(STARTING_S, bag=str(tmp_path / "empty"))
    assert told.verdict == Result.FAULT and str(tmp_path / "empty") in told.reasons[0]


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({"bag": "/nowhere/bag"}, "there is no bag '/nowhere/bag'"),
        ({"bag": ""}, "there is no bag ''"),
        ({"recipe": "cake"}, "unknown adaptation recipe 'cake'"),
        ({"recipe": "/nowhere/cake.yaml"}, "/nowhere/cake.yaml"),
    ],
)
def test_a_goal_that_cannot_be_done_is_rejected_and_the_log_says_why(quick_scene, goal, words):
    scene = quick_scene()
    assert not scene.send(**goal).accepted
    scene.graph.wait(lambda: any("rejected a goal" in line and words in line for line in scene.operator.lines), "the reason")
    assert scene.send().accepted


def test_without_a_checkpoint_every_goal_is_rejected(quick_scene):
    scene = quick_scene("policy.checkpoint:=''")
    assert not scene.send().accepted
    scene.graph.wait(lambda: any("no checkpoint is known" in line for line in scene.operator.lines), "the reason")


def test_a_comparison_that_shows_too_much_rejects(quick_scene):
    scene = quick_scene()
    policy = scene.add_policy(moves_m=0.05)
    told = scene.run(activate=True, shadow_decisions=3)
    assert told.verdict == Result.REJECTED and not told.activated
    assert any(reason.startswith("FAILED: shadow translation: ") and "50.00 mm" in reason for reason in told.reasons)
    assert verdict_of(scene) == "rejected" and policy.loaded == []


def test_a_policy_that_never_compares_leaves_the_adapter_rejected(quick_scene):
    scene = quick_scene("adapt.shadow_timeout_s:=1.0")
    policy = scene.add_policy(reports=False)
    told = scene.run(activate=True, shadow_decisions=3)
    assert told.verdict == Result.REJECTED and told.reasons[-1] == "the policy made 0 of 3 decisions in 1 s"
    assert verdict_of(scene) == "rejected" and policy.loaded == []
    scene.graph.wait(lambda: policy.compared[1:] == [""], "the end of the comparison")


def test_a_policy_that_will_not_compare_says_why(quick_scene):
    scene = quick_scene()
    scene.add_policy().refusal = "it belongs to another base"
    told = scene.run(shadow_decisions=3)
    assert told.verdict == Result.REJECTED and told.reasons[-1] == "it belongs to another base"
    assert verdict_of(scene) == "rejected"


def test_without_a_policy_there_is_no_comparison_and_no_swap(quick_scene):
    scene = quick_scene()
    told = scene.run(shadow_decisions=3)
    assert told.verdict == Result.REJECTED and told.reasons[-1] == "no policy node serves policy/shadow_adapter"
    told = scene.run(activate=True)
    assert told.verdict == Result.ACCEPTED and not told.activated
    assert told.reasons[-1] == "not activated: no policy node serves policy/load_adapter"


def test_a_goal_is_cancelled_while_it_is_compared(quick_scene):
    scene = quick_scene()
    policy = scene.add_policy(reports=False)
    goal = scene.send(activate=True, shadow_decisions=3)
    scene.wait_for_stage(Feedback.SHADOWING)
    goal.cancel_goal_async()
    ended = scene.end_of(goal)
    assert (ended.status, ended.result.verdict) == (GoalStatus.STATUS_CANCELED, Result.CANCELED)
    assert verdict_of(scene) == "rejected" and policy.loaded == []
    scene.graph.wait(lambda: policy.compared[1:] == [""], "the end of the comparison")


def test_a_slow_swap_is_asked_for_once(quick_scene):
    scene = quick_scene()
    policy = scene.add_policy()
    policy.answers = Future()
    goal = scene.send(activate=True, shadow_decisions=1)
    scene.graph.wait(lambda: policy.loaded, "the swap")
    scene.graph.spin_for(1.0)
    assert len(policy.loaded) == 1
    policy.answers.set_result(None)
    told = scene.end_of(goal).result
    assert told.verdict == Result.ACCEPTED and told.activated and len(policy.loaded) == 1


def test_a_refused_swap_and_one_that_is_never_answered_are_told(quick_scene, monkeypatch):
    monkeypatch.setattr(adapt_node, "ANSWER_TIMEOUT_S", 0.5)
    scene = quick_scene()
    policy = scene.add_policy()
    policy.refusal = "the policy is 'expert'"
    told = scene.run(activate=True)
    assert told.verdict == Result.ACCEPTED and not told.activated
    assert told.reasons[-1] == "not activated: the policy is 'expert'"
    policy.answers = Future()
    told = scene.run(activate=True)
    assert not told.activated and told.reasons[-1] == "not activated: no answer of policy/load_adapter in 0.5 s"
    policy.answers.set_result(None)
    assert scene.send().accepted  # it is not stuck
