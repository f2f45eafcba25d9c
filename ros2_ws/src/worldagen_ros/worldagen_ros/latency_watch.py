"""The command node's side of latency traces: completes them, publishes them, and tells their statistics in the diagnostics."""

import time

from rclpy.clock import Clock, ClockType

from worldagen.latency import LatencyWindow, StageReport, Trace, problems
from worldagen_msgs.msg import ActionChunk, LatencyTrace
from worldagen_ros import messages, qos, topics
from worldagen_ros.diagnostics import OK, WARN
from worldagen_ros.managed import ManagedNode

REPORT_PERIOD_S = 1.0
SIMULATED = ("camera", "total", "overhead")  # stages that begin at the capture stamp: in lockstep that is simulation time


class LatencyWatch:
    """`arrived` with every chunk, `taken` when it may move the arm, `commanded` after the first command that it moves."""

    def __init__(self, node: ManagedNode, live: bool) -> None:
        self._node, self._live = node, live
        self._publisher = node.create_publisher(LatencyTrace, topics.LATENCY, qos.CHUNKS)
        self._window = LatencyWindow()
        self._told = 0  # traces
        self._waiting: Trace | None = None
        self._arrived_ns = 0
        node.create_timer(REPORT_PERIOD_S, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def arrived(self) -> None:
        """A chunk has come; it is not looked at yet."""
        self._arrived_ns = time.time_ns()

    def taken(self, msg: ActionChunk) -> None:
        """It was taken up, and waits for its first command. A chunk without a trace is not followed."""
        traced = msg.trace.published.sec or msg.trace.published.nanosec
        self._waiting = messages.decode_trace(msg.trace)._replace(arrived_ns=self._arrived_ns) if traced else None

    def dropped(self) -> None:
        """Whatever waits will never move the arm."""
        self._waiting = None

    def commanded(self) -> None:
        """A command is out that rows have moved."""
        if self._waiting is None:
            return
        trace, self._waiting = self._waiting._replace(commanded_ns=time.time_ns()), None
        self._window.add(trace)
        self._publisher.publish(messages.encode_trace(trace))

    def _report(self) -> None:
        if self._window.count == self._told:
            return
        self._told = self._window.count
        reports = [report for report in self._window.report() if self._live or report.name not in SIMULATED]
        wrong = problems(reports)
        whole = next(report for report in reports if report.name == ("total" if self._live else "inside"))
        told = "; ".join(wrong) or f"{whole.name} {whole.p50_s * 1e3:.1f} ms p50, {whole.p99_s * 1e3:.1f} ms p99"
        self._node.diagnostics.set("latency", WARN if wrong else OK, told, dict(map(_figures, reports)))


def _figures(report: StageReport) -> tuple[str, str]:
    if not report.count:
        return report.name, "-"
    p50, p90, p99, most = (f"{1e3 * value:.1f}" for value in (report.p50_s, report.p90_s, report.p99_s, report.max_s))
    return report.name, f"p50 {p50}, p90 {p90}, p99 {p99}, max {most} ms, {report.count}"
