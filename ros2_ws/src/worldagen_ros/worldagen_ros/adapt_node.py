"""Adaptation node: the action `adapt`, a bag in, a judged adapter out. The training runs in a process that gives way to others.

Nothing here computes: the node starts that process, tells how it goes, asks the policy node for the comparison in shadow mode
and for the swap, and says why the verdict is what it is.
"""

import time
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType

from worldagen.adaptation.process import AdaptationCanceled, AdaptationProcess
from worldagen.adaptation.recipe import GateSection, load_adaptation_recipe
from worldagen.adaptation.request import ENCODING, JUDGING, READING, TRAINING, AdaptationRequest, Adapted, Progress
from worldagen.deciding import Shadowed
from worldagen.errors import WorldAgenError
from worldagen_msgs.action import Adapt
from worldagen_msgs.msg import ShadowReport
from worldagen_msgs.srv import LoadAdapter, ShadowAdapter
from worldagen_ros import qos, topics
from worldagen_ros.bank_services import BankServices
from worldagen_ros.diagnostics import ERROR, OK, WARN
from worldagen_ros.managed import ManagedNode
from worldagen_ros.runtime import run_node

FEEDBACK_PERIOD_S = 0.3
ANSWER_TIMEOUT_S = 60.0  # of the policy node to a swap; it answers between two decisions
SHADOW = "shadow"
STAGES = {
    READING: Adapt.Feedback.READING,
    ENCODING: Adapt.Feedback.ENCODING,
    TRAINING: Adapt.Feedback.TRAINING,
    JUDGING: Adapt.Feedback.JUDGING,
}


class AdaptNode(ManagedNode):
    """One goal at a time, through the stages: process -> shadow, if asked for -> verdict -> swap, if asked for."""

    sections = ("policy", "adapt")

    def __init__(self) -> None:
        super().__init__("adapt")

    def configure(self) -> None:
        self.policy, self.config = self.read()

    def activate(self) -> None:
        self.goal: Any = None  # a ServerGoalHandle while one runs; rclpy's own types contradict its calls
        self.process: AdaptationProcess | None = None
        self.adapted: Adapted | None = None
        self.canceled = False
        self.stage, self.stage_began_s = "", 0.0
        self.shadowed: ShadowReport | None = None
        self.shadow_until_s: float | None = None  # while it is compared
        self.activate_until_s: float | None = None  # while the policy node is asked to make it active
        self.verdict: tuple[int, list[str]] = (Adapt.Result.FAULT, [])  # that stands by then
        self.load = self.create_client(LoadAdapter, topics.LOAD_ADAPTER)
        self.shadow = self.create_client(ShadowAdapter, topics.SHADOW_ADAPTER)
        self.create_subscription(ShadowReport, topics.SHADOW_REPORT, self.on_shadow, qos.LATCHED)
        self.server = ActionServer(
            self,
            Adapt,
            topics.ADAPT,
            execute_callback=lambda goal: Adapt.Result(),
            goal_callback=self.on_request,
            handle_accepted_callback=self.on_accepted,
            cancel_callback=self.on_cancel,
        )
        self.places = BankServices(self, self.policy.bank)
        self.create_timer(FEEDBACK_PERIOD_S, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.diagnostics.set("adaptation", OK, "idle")
        self.get_logger().info("ready")

    def on_request(self, request: Any) -> GoalResponse:
        problem = ""
        if self.goal is not None:
            problem = "an adaptation is under way; cancel it first"
        elif not request.bag or not Path(request.bag).expanduser().is_dir():
            problem = f"there is no bag {request.bag!r}; expected the folder of a bag"
        elif not self.policy.checkpoint and not self.config.checkpoint:
            problem = "no checkpoint is known; set policy.checkpoint or adapt.checkpoint"
        else:
            try:
                load_adaptation_recipe(request.recipe or self.config.recipe)
            except WorldAgenError as error:
                problem = str(error)
        if problem:
            self.get_logger().warning(f"rejected a goal: {problem}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def on_accepted(self, goal: ServerGoalHandle) -> None:
        self.goal, self.adapted, self.shadowed, self.canceled, self.stage = goal, None, None, False, ""
        self.shadow_until_s = self.activate_until_s = None
        asked: Any = goal.request
        self.process = AdaptationProcess(
            AdaptationRequest(
                checkpoint=self.config.checkpoint or self.policy.checkpoint,
                bag=str(Path(asked.bag).expanduser()),
                recipe=asked.recipe or self.config.recipe,
                out=self.config.folder,
                further_checks=(SHADOW,) if asked.shadow_decisions else (),
            ),
            command=f"action adapt, recipe {asked.recipe or self.config.recipe}",
        )
        self.get_logger().info(f"adapting to {asked.bag}")
        self.diagnostics.set("adaptation", OK, "running")

    def on_cancel(self, goal: Any) -> CancelResponse:
        self.canceled = True
        if self.process is not None:
            self.process.cancel()
        return CancelResponse.ACCEPT

    def on_shadow(self, msg: ShadowReport) -> None:
        if self.adapted is not None and msg.adapter_id == self.adapted.adapter_id:
            self.shadowed = msg

    def look(self) -> None:
        """Several times a second: tell how it goes, and take the next step when one is due."""
        if self.goal is None or not self.goal.is_active:
            return
        if self.process is not None:
            self.tell(self.process.progress or Progress(READING, 0, 0, float("nan")))  # before the first it still starts
            if self.process.done:
                self.take_result()
        elif self.shadow_until_s is not None and self.adapted is not None:
            self.follow_shadow(self.adapted, self.shadow_until_s)
        elif self.activate_until_s is not None and time.monotonic() > self.activate_until_s:
            verdict, reasons = self.verdict
            self.finish(verdict, [*reasons, f"not activated: no answer of {topics.LOAD_ADAPTER} in {ANSWER_TIMEOUT_S:g} s"])

    def tell(self, progress: Progress) -> None:
        """Feedback of the training's process."""
        if progress.stage != self.stage:
            self.stage, self.stage_began_s = progress.stage, time.monotonic()
        spent_s = time.monotonic() - self.stage_began_s
        left_s = spent_s * (progress.of - progress.done) / progress.done if progress.done else 0.0
        feedback = Adapt.Feedback(stage=STAGES[progress.stage], window=progress.done, windows=progress.of)
        feedback.loss, feedback.time_left = progress.loss, left_s
        self.goal.publish_feedback(feedback)

    def take_result(self) -> None:
        """The process has ended."""
        process, self.process = self.process, None
        assert process is not None
        try:
            self.adapted = process.result()
        except AdaptationCanceled as error:
            self.finish(Adapt.Result.CANCELED, [str(error)])
            return
        except WorldAgenError as error:
            self.finish(Adapt.Result.FAULT, [str(error)])
            return
        self.get_logger().info(f"adapter {self.adapted.adapter_id} is written")
        if self.canceled:
            self.finish(Adapt.Result.CANCELED, ["cancelled when the adapter was written already", *self.adapted.reasons])
        elif self.goal.request.shadow_decisions:
            self.begin_shadow(self.adapted)
        else:
            self.settle(self.adapted.accepted, list(self.adapted.reasons))

    def begin_shadow(self, adapted: Adapted) -> None:
        """Ask the policy node to compare; without it the adapter stays rejected."""
        if not self.shadow.service_is_ready():
            self.settle(False, [*adapted.reasons, f"no policy node serves {topics.SHADOW_ADAPTER}"])
            return
        self.shadow_until_s = time.monotonic() + self.config.shadow_timeout_s
        goal, request = self.goal, ShadowAdapter.Request(path=adapted.folder, decisions=self.goal.request.shadow_decisions)

        def answered(future: Any) -> None:
            if self.goal is goal and not future.result().success:
                self.settle(False, [*adapted.reasons, future.result().message])

        self.shadow.call_async(request).add_done_callback(answered)

    def follow_shadow(self, adapted: Adapted, until_s: float) -> None:
        """Wait until the policy has compared as often as was asked for."""
        told, wanted = self.shadowed, self.goal.request.shadow_decisions
        seen = told.decisions if told else 0
        feedback = Adapt.Feedback(stage=Adapt.Feedback.SHADOWING, window=seen, windows=wanted)
        feedback.loss = float("nan")
        self.goal.publish_feedback(feedback)
        if self.canceled:
            self.shadow.call_async(ShadowAdapter.Request())
            self.finish(
                Adapt.Result.CANCELED, ["cancelled while it was compared; the adapter stays rejected", *adapted.reasons]
            )
        elif told is not None and seen >= wanted:
            self.judge(adapted, told)
        elif time.monotonic() > until_s:
            self.shadow.call_async(ShadowAdapter.Request())
            waited = f"the policy made {seen} of {wanted} decisions in {self.config.shadow_timeout_s:g} s"
            self.settle(False, [*adapted.reasons, waited])

    def judge(self, adapted: Adapted, told: ShadowReport) -> None:
        """The comparison is complete: its bounds join those of the gate."""
        from worldagen.adaptation.adapter import read_manifest, read_section, settle_checks  # torch: only where it is used
        from worldagen.adaptation.shadowing import judge_shadow

        folder = Path(adapted.folder)
        shadowed = Shadowed(
            told.adapter_id, 0, told.decisions, told.wanted, told.translation_p99, told.rotation_p99, told.gripper_flips
        )
        try:
            bounds = read_section(read_manifest(folder), folder, "gate", GateSection())
            gate = settle_checks(folder, judge_shadow(shadowed, self.policy.rows, bounds))["gate"]
        except WorldAgenError as error:  # somebody removed it, or the disk is full
            self.finish(Adapt.Result.FAULT, [str(error)])
            return
        self.settle(gate["verdict"] == "accepted", gate["reasons"])

    def settle(self, accepted: bool, reasons: list[str]) -> None:
        """The verdict stands; swap if that was asked for and it may drive."""
        self.shadow_until_s = None
        verdict = Adapt.Result.ACCEPTED if accepted else Adapt.Result.REJECTED
        if not (accepted and self.goal.request.activate and self.adapted):
            self.finish(verdict, reasons)
            return
        if not self.load.service_is_ready():
            self.finish(verdict, [*reasons, f"not activated: no policy node serves {topics.LOAD_ADAPTER}"])
            return

        goal = self.goal
        self.verdict, self.activate_until_s = (verdict, reasons), time.monotonic() + ANSWER_TIMEOUT_S

        def answered(future: Any) -> None:
            if self.goal is not goal:
                return
            told = future.result()
            self.finish(verdict, reasons if told.success else [*reasons, f"not activated: {told.message}"], told.success)

        self.load.call_async(LoadAdapter.Request(path=self.adapted.folder)).add_done_callback(answered)

    def finish(self, verdict: int, reasons: list[str], activated: bool = False) -> None:
        """End the goal and say why."""
        goal, self.goal = self.goal, None
        result = Adapt.Result(verdict=verdict, reasons=reasons, activated=activated)
        if self.adapted is not None:
            result.adapter_id, result.loss_before, result.loss_after = (
                self.adapted.adapter_id, self.adapted.loss_before, self.adapted.loss_after
            )  # fmt: skip
        words = {1: "accepted", 2: "rejected", 3: "cancelled", 4: "failed"}[verdict]
        level = {1: OK, 2: WARN, 3: OK, 4: ERROR}[verdict]
        self.diagnostics.set("adaptation", level, words, {"adapter": result.adapter_id, "why": "; ".join(reasons)})
        self.get_logger().info(f"{words}: {'; '.join(reasons)}")

        def end(handle: ServerGoalHandle) -> Adapt.Result:
            if verdict == Adapt.Result.CANCELED:
                handle.canceled()
            elif verdict == Adapt.Result.FAULT:
                handle.abort()
            else:
                handle.succeed()
            return result

        goal.execute(end)

    def deactivate(self) -> None:
        """An adaptation under way is given up; nothing half done stays."""
        if self.process is not None:
            self.process.close()
            self.process = None


def main() -> None:
    run_node(AdaptNode)
