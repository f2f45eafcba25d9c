"""Policy node: observations in, one action chunk out for each that is due. It decides only while it has an instruction.

Callbacks stay short: the decision itself runs in a worker thread (worldagen/deciding.py), on the newest observation there is.
"""

from rclpy.clock import Clock, ClockType
from std_msgs.msg import String

from worldagen.deciding import DecisionLoop
from worldagen.disturbance import Disturbance
from worldagen.errors import BadObservation, WorldAgenError
from worldagen.latency import Trace
from worldagen.schedule import Due, Schedule
from worldagen.types import ActionChunk
from worldagen_msgs.msg import PolicyStatus
from worldagen_msgs.srv import ResetPolicy
from worldagen_ros import messages, qos, topics
from worldagen_ros.adapter_services import AdapterServices
from worldagen_ros.chunk_outputs import ChunkOutputs
from worldagen_ros.deciders import DECIDERS
from worldagen_ros.diagnostics import ERROR, OK
from worldagen_ros.encoder_watch import EncoderWatch
from worldagen_ros.execute_server import ExecuteServer, Result
from worldagen_ros.inputs import Completed, Inputs
from worldagen_ros.managed import ManagedNode
from worldagen_ros.policy_watch import PolicyWatch
from worldagen_ros.prediction_outputs import PredictionOutputs
from worldagen_ros.routing_services import RoutingServices
from worldagen_ros.runtime import run_node

STATUS_PERIOD_S = 0.25  # also the action's feedback and the resolution of its time limit


class PolicyNode(ManagedNode):
    """Decodes, offers, encodes."""

    sections = ("timing", "robot", "cameras", "policy", "engine")

    def __init__(self) -> None:
        super().__init__("policy")

    def configure(self) -> None:
        self.timing, self.robot, self.cameras, self.config, engine = self.read()
        self.decider = DECIDERS[self.config.kind](self.config, self.robot, engine, self.get_logger().info)

    def activate(self) -> None:
        decided = self.create_guard_condition(self.on_decided)
        self.loop = DecisionLoop(
            self.decider,
            Schedule(self.config.replan_rows, self.config.max_gap_s),
            on_done=decided.trigger,
            foresees=lambda: self.predictions.wanted,
        )
        self.detail, self.told = "no instruction yet", PolicyStatus()
        self.answering = Completed(0, 0, 0)  # the observation that is being decided on
        self.chunks = ChunkOutputs(self, self.robot.frame_id, self.config.kind == "demonstrator")
        self.predictions = PredictionOutputs(self)
        self.status = self.create_publisher(PolicyStatus, topics.POLICY_STATUS, qos.LATCHED)
        self.inputs = Inputs(
            self, self.loop.decider.streams, self.cameras, self.timing, self.diagnostics, self.on_sample, self.on_look
        )
        self.execute = ExecuteServer(self, self.start, self.stop, lambda: self.loop.decisions)
        self.adapters = AdapterServices(self, self.loop, self.robot.frame_id, lambda _: self.report())
        self.routing = RoutingServices(self, self.loop, self.robot.frame_id, self.adapters.between)
        self.create_service(ResetPolicy, topics.RESET_POLICY, self.on_reset)
        self.create_subscription(String, topics.INSTRUCTION, self.on_instruction, qos.LATCHED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(STATUS_PERIOD_S, self.report, clock=steady)
        self.watch = PolicyWatch(self, self.chunks.publish) if self.timing.mode == "realtime" else None
        self.encoder = EncoderWatch(self, self.decider)
        self.get_logger().info(f"ready: {self.loop.decider.name} {self.loop.decider.source}".rstrip())
        if self.config.instruction:
            self.start(self.config.instruction)

    def start(self, instruction: str, not_before_ns: int = 0, disturbance: Disturbance | None = None) -> None:
        self.loop.start(instruction, not_before_ns, disturbance)
        self.get_logger().info(f"following {instruction!r}")
        self.on_sample()
        self.report()

    def stop(self, why: str) -> None:
        self.get_logger().info(f"idle after {self.loop.decisions} decisions: {why}")
        self.loop.stop()
        self.detail = why
        self.report()

    def on_sample(self, repeat: bool = True) -> None:
        """Something new came, or a decision is done: answer the newest observation if it is due."""
        samples = self.inputs.newest()
        due = Due.WAIT if samples is None else self.loop.offer(samples)
        if due in (Due.ACT, Due.AFRESH):
            self.answering = self.inputs.completed
        if due is Due.REPEAT and repeat and self.timing.mode == "lockstep" and self.loop.last:
            self.chunks.publish(self.loop.last)

    def on_look(self) -> None:
        if self.watch is not None:
            self.watch.look()

    def on_decided(self) -> None:
        try:
            chunk, foreseen = self.loop.collect(), self.loop.collect_foreseen()
        except WorldAgenError as error:
            self.get_logger().error(f"no decision: {error}", throttle_duration_sec=2.0)
            self.diagnostics.set("decision", ERROR, str(error))
            if not isinstance(error, BadObservation):  # the next observation may be good; anything else stays wrong
                self.loop.stop()
                self.execute.finish(Result.FAULT, str(error))
            return
        if chunk is not None:
            self.chunks.publish(chunk, None if self.config.kind == "demonstrator" else self.trace_of(chunk))
            if self.watch is not None:
                self.watch.decided()
            self.diagnostics.set("decision", OK, "deciding", {"inference_ms": f"{chunk.inference_s * 1e3:.1f}"})
            self.encoder.look()
        if foreseen is not None:
            self.predictions.publish(foreseen)
        self.adapters.report_shadow()
        self.routing.report()
        self.on_sample(repeat=False)

    def trace_of(self, chunk: ActionChunk) -> Trace:
        """When the observation behind the newest chunk passed the steps until now."""
        loop, seen = self.loop, self.answering
        preprocessed_ns = loop.decided_ns - round((chunk.inference_s - chunk.preprocess_s) * 1e9)
        return Trace(
            sequence=chunk.sequence,
            captured_ns=chunk.stamp_ns,
            received_ns=seen.received_ns,
            decoded_ns=seen.decoded_ns,
            begun_ns=loop.begun_ns,
            preprocessed_ns=preprocessed_ns,
            encoded_ns=preprocessed_ns + round(chunk.encode_s * 1e9),
            decided_ns=loop.decided_ns,
        )

    def report(self) -> None:
        """Tell the state when it changed, and the action's client several times a second."""
        self.execute.check(self.inputs.missing or "running")
        status = messages.encode_status(self.loop, self.inputs.missing, self.detail, self.adapters.active)
        status.header = self.told.header
        if status != self.told:
            status.header = messages.header(self.get_clock().now().nanoseconds, self.robot.frame_id)
            self.told = status
            self.status.publish(status)

    def on_instruction(self, msg: String) -> None:
        self.execute.finish(Result.REPLACED, "another instruction took over")
        if msg.data.strip():
            self.start(msg.data)
        elif self.loop.instruction:
            self.stop("an empty instruction")

    def on_reset(self, request: ResetPolicy.Request, response: ResetPolicy.Response) -> ResetPolicy.Response:
        self.execute.finish(Result.REPLACED, "the policy was reset")
        response.success, response.message = True, f"stopped {self.loop.instruction!r}" if self.loop.instruction else "was idle"
        self.stop("reset")
        return response

    def deactivate(self) -> None:
        """A decision under way is waited for; nobody gets it."""
        self.execute.finish(Result.FAULT, "the policy was deactivated")
        self.loop.close()

    def cleanup(self) -> None:
        for name in ("decider", "loop"):  # a node that was refused has not made them
            self.__dict__.pop(name, None)


def main() -> None:
    run_node(PolicyNode)
