"""A node's health on /diagnostics: once a second and at once when a level changes."""

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from worldagen_ros import qos, topics

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


class Diagnostics:
    """Keeps the newest status under each name. Stamps are wall time: in lockstep the ROS clock may stand still."""

    def __init__(self, node: Node) -> None:
        self._clock = Clock(clock_type=ClockType.SYSTEM_TIME)
        self._owner = node.get_fully_qualified_name().lstrip("/")
        self._publisher = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.DIAGNOSTICS)
        self._statuses: dict[str, DiagnosticStatus] = {}
        node.create_timer(1.0, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def set(self, name: str, level: bytes, message: str, values: Mapping[str, Any] | None = None) -> None:
        """Set the status `<node>: <name>`; publishes at once when its level changed."""
        before = self._statuses.get(name)
        if before is not None and not values and (before.level, before.message) == (level, message):
            return  # most calls: nothing new
        pairs = [KeyValue(key=key, value=str(value)) for key, value in (values or {}).items()]
        self._statuses[name] = DiagnosticStatus(
            level=level, name=f"{self._owner}: {name}", message=message, hardware_id="worldagen", values=pairs
        )
        if before is None or before.level != level:
            self.publish()

    def clear(self) -> None:
        """Forget every status: what they were about is no longer watched."""
        self._statuses.clear()

    def publish(self) -> None:
        """Send every status."""
        msg = DiagnosticArray(status=list(self._statuses.values()))
        msg.header.stamp = self._clock.now().to_msg()
        self._publisher.publish(msg)
