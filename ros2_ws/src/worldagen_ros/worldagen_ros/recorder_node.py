"""Recorder node: starts and stops bags when it is told to, and tells loudly when one ended by itself."""

import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from worldagen.bags.contract import KEY, NAME
from worldagen.bags.disk import free_bytes
from worldagen.bags.recording import RecordingReport
from worldagen.config import leaves
from worldagen.errors import WorldAgenError
from worldagen_msgs.srv import StartRecording, StopRecording
from worldagen_ros import topics
from worldagen_ros.acquaintance import Acquaintance
from worldagen_ros.diagnostics import ERROR, OK, WARN
from worldagen_ros.managed import ManagedNode
from worldagen_ros.recorded import contract_of_deployment, recorded_of
from worldagen_ros.recorder import Recorder
from worldagen_ros.runtime import run_node
from worldagen_ros.specs import SECTIONS, managed_of

STATUS_PERIOD_S = 1.0
CONNECT_PERIOD_S, CONNECT_PATIENCE_S = 0.05, 3.0  # while a bag begins
MATCH_PATIENCE_S = 7.0  # more, for publishers that are there: DDS repeats an announcement that was lost every 3 s
MIB = 1 << 20


class RecorderNode(ManagedNode):
    """Two services around a Recorder."""

    sections = SECTIONS

    def __init__(self) -> None:
        super().__init__("recorder")

    def configure(self) -> None:
        self.deployment = self.read_deployment()
        self.config = self.deployment.recorder
        self.contract = contract_of_deployment(self.deployment, self.resolve_topic_name)

    def activate(self) -> None:
        self.recorder = Recorder(self, recorded_of(self.deployment), self.config, self.on_stopped)
        start: Any = self.on_start  # the type hints of rclpy know no coroutines, its executors do
        own = MutuallyExclusiveCallbackGroup()  # it waits, and nothing else may wait for it
        self.create_service(StartRecording, topics.START_RECORDING, start, callback_group=own)
        self.create_service(StopRecording, topics.STOP_RECORDING, self.on_stop)
        self.create_timer(STATUS_PERIOD_S, self.report, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.diagnostics.set("recording", OK, "idle")
        self.get_logger().info("ready")
        if self.config.autostart:
            self.start("", {})

    def start(self, bag: str, notes: dict[str, str]) -> Path:
        """Begin a bag in a folder, or in one named by the time. Raises BagError or DiskFull."""
        folder = Path(bag).expanduser() if bag else self._free_name()
        parameters = {leaf.key: str(leaf.default) for leaf in leaves(self.deployment)}
        metadata = {NAME: {KEY: self.contract.to_json()}, "parameters": parameters}
        self.recorder.start(folder, {**metadata, "notes": notes} if notes else metadata)
        self.get_logger().info(f"recording into {folder}")
        for text in self.recorder.not_recorded:
            self.get_logger().info(f"not recorded: {text}")
        self.report()
        return folder

    async def on_start(self, request: StartRecording.Request, response: StartRecording.Response) -> StartRecording.Response:
        """Answered when those who publish and the recorder have discovered each other: what comes after that is in the bag."""
        try:
            if len(request.names) != len(request.values):
                raise WorldAgenError(f"{len(request.names)} names with {len(request.values)} values; expected as many as names")
            response.bag = str(self.start(request.bag, dict(zip(request.names, request.values, strict=True))))
            response.success, response.message = True, f"recording into {response.bag}"
            if strangers := await self.connect():
                response.message += f"; not heard of yet: {', '.join(strangers)}"
                self.get_logger().warning(response.message)
        except WorldAgenError as error:
            response.message = str(error)
            self.get_logger().error(f"not recording: {error}")
        return response

    def connect(self) -> Future:
        """Of the deployment's nodes, and of all who publish, those that have not discovered the recorder in time; and topics
        whose publishers it has not discovered itself."""
        names = {spec.name for spec in managed_of(self.deployment)} - {self.get_name()}
        expected = {f"{self.get_namespace().rstrip('/')}/{name}" for name in names} | self.recorder.publishers
        acquaintances = {name: Acquaintance(self, name) for name in sorted(expected)}
        deadline_s, connected = time.monotonic() + CONNECT_PATIENCE_S, Future(executor=self.executor)

        def look() -> None:
            strangers = [name for name, acquaintance in acquaintances.items() if not acquaintance.made()]
            if strangers and time.monotonic() < deadline_s:
                return
            # A simulator that answers publishes what it must; of hardware, drivers may come later.
            simulated = self.deployment.robot.source == "simulator" and not strangers
            unmatched = self.recorder.unmatched([one.name for one in self.contract.topics if one.required and simulated])
            if unmatched and time.monotonic() < deadline_s + MATCH_PATIENCE_S:
                return
            self.destroy_timer(timer)
            for acquaintance in acquaintances.values():
                acquaintance.close()
            connected.set_result([*strangers, *unmatched])

        timer = self.create_timer(CONNECT_PERIOD_S, look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        return connected

    def on_stop(self, _: StopRecording.Request, response: StopRecording.Response) -> StopRecording.Response:
        try:
            report = self.recorder.stop()
        except WorldAgenError as error:
            response.message = str(error)
            return response
        self._tell(report)
        response.success, response.message, response.bag = report.finished, str(report), str(report.folder)
        response.messages, response.size = sum(report.messages.values()), report.size_bytes
        response.dropped = sum(report.dropped.values())
        return response

    def on_stopped(self, report: RecordingReport) -> None:
        """It ended by itself."""
        self._tell(report)

    def report(self) -> None:
        """Keep the diagnostics up to date while a bag is recorded; what ended one stays there until the next begins."""
        if not self.recorder.recording:
            return
        now = self.recorder.progress()
        dropped, lost = sum(now.dropped.values()), sum(now.lost.values())
        values = {
            "bag": now.folder,
            "messages": sum(now.messages.values()),
            "size_mb": f"{now.size_bytes / 1e6:.1f}",
            "dropped": dropped,
            "lost_before": lost,
            "free_mib": free_bytes(now.folder) // MIB,
            "silent": ", ".join(self.recorder.silent),
            "not_recorded": ", ".join(self.recorder.not_recorded),
        }
        text = f"{dropped} messages dropped" if dropped else f"{lost} messages lost before they came" if lost else "recording"
        self.diagnostics.set("recording", WARN if dropped or lost else OK, text, values)

    def deactivate(self) -> None:
        if self.recorder.recording:
            print(f"INFO: recorded {self.recorder.stop()}", flush=True)  # ROS may be shut down already and take no log

    def _tell(self, report: RecordingReport) -> None:
        if report.stopped:
            self.get_logger().error(f"RECORDING STOPPED: {report}")
            self.diagnostics.set("recording", ERROR, f"stopped by itself: {report.stopped}")
        else:
            self.get_logger().info(f"recorded {report}")
            self.diagnostics.set("recording", WARN if report.dropped else OK, f"idle; recorded {report}")

    def _free_name(self) -> Path:
        base = Path(self.config.folder).expanduser() / datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ")
        folder, number = base, 1
        while folder.exists():
            folder, number = base.with_name(f"{base.name}_{number}"), number + 1
        return folder


def main() -> None:
    run_node(RecorderNode)
