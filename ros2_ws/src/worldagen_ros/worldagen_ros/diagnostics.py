"""A node's health on /diagnostics: once a second, at once when a level gets worse, and a second late when it gets better.

The delay is hysteresis: what comes and goes several times a second shows as the worse of both, not as a flicker.
"""

import time
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from worldagen_ros import qos, topics

SETTLED_S = 1.0  # so long a better level has to last until it is told
OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Diagnostics:
    """Keeps the newest status under each name. Stamps are wall time: in lockstep the ROS clock may stand still."""

    def __init__(self, node: Node) -> None:
        self._clock = Clock(clock_type=ClockType.SYSTEM_TIME)
        self._owner = node.get_fully_qualified_name().lstrip("/")
        self._publisher = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
        self._statuses: dict[str, DiagnosticStatus] = {}
        self._better: dict[str, tuple[float, DiagnosticStatus]] = {}  # not told yet: since when (monotonic), the newest
        node.create_timer(1.0, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def set(self, name: str, level: bytes, message: str, values: Mapping[str, Any] | None = None) -> None:
        """Set the status `<node>: <name>`; publishes at once when its level got worse."""
        before = self._statuses.get(name)
        if before is not None and not values and (before.level, before.message) == (level, message):
            self._better.pop(name, None)
            return  # most calls: nothing new
        pairs = [KeyValue(key=key, value=str(value)) for key, value in (values or {}).items()]
        status = DiagnosticStatus(
            level=level, name=f"{self._owner}: {name}", message=message, hardware_id="worldagen", values=pairs
        )
        if before is not None and level < before.level:
            since_s, _ = self._better.get(name, (time.monotonic(), status))
            self._better[name] = since_s, status
            self._settle()
            return
        self._better.pop(name, None)
        self._statuses[name] = status
        if before is None or before.level != level:
            self.publish()

    def clear(self) -> None:
        """Forget every status: what they were about is no longer watched."""
        self._statuses.clear()
        self._better.clear()

    def publish(self) -> None:
        """Send every status."""
        self._settle()
        msg = DiagnosticArray(status=list(self._statuses.values()))
        msg.header.stamp = self._clock.now().to_msg()
        self._publisher.publish(msg)

    def _settle(self) -> None:
        """Let better levels count that have lasted."""
        now_s = time.monotonic()
        for name, (since_s, status) in list(self._better.items()):
            if now_s - since_s >= SETTLED_S:
                self._statuses[name] = status
                del self._better[name]
