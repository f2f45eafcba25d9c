"""Latency traces of a running stack, as they come."""

import time

from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from worldagen.latency import LatencyWindow, format_table
from worldagen_msgs.msg import LatencyTrace
from worldagen_ros import messages, qos, topics
from worldagen_ros.spinning import open_ros, spin_once

SHOW_PERIOD_S = 1.0
AGAIN = "\033[H\033[J"  # to the upper left, and clear what is below


class LatencyListener(Node):
    """Keeps the newest traces of a stack. live: shows them as a table that is drawn again and again."""

    def __init__(self, namespace: str = "", live: bool = False) -> None:
        super().__init__("latency_listener", namespace=namespace, enable_rosout=False)
        self.window = LatencyWindow()
        self.create_subscription(LatencyTrace, topics.LATENCY, self._on_trace, qos.CHUNKS)
        if live:
            self.create_timer(SHOW_PERIOD_S, self._show, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_trace(self, msg: LatencyTrace) -> None:
        self.window.add(messages.decode_trace(msg))

    def _show(self) -> None:
        waits = "" if self.window.count else ": nobody moves, or nobody is there"
        print(f"{AGAIN}{self.window.count} traces{waits}; Ctrl-C ends\n{format_table(self.window.report())}", flush=True)


def listen(namespace: str, seconds: float | None, live: bool) -> LatencyWindow:
    """The newest traces of what runs, after that time or, without one, Ctrl-C."""
    with open_ros():
        node, executor = LatencyListener(namespace, live), SingleThreadedExecutor()
        executor.add_node(node)
        until_s = float("inf") if seconds is None else time.monotonic() + seconds
        try:
            while (left_s := until_s - time.monotonic()) > 0:
                spin_once(executor, min(left_s, 0.2))
        except KeyboardInterrupt:
            pass
        finally:
            executor.shutdown()
            node.destroy_node()
        return node.window
