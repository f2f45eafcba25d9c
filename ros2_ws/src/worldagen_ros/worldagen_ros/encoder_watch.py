"""Which engine encodes the pictures, told in the diagnostics, and once in the log when torch had to take over."""

from worldagen.deciding import Decider
from worldagen_ros.deciders import NetworkDecider
from worldagen_ros.diagnostics import OK, WARN
from worldagen_ros.managed import ManagedNode


class EncoderWatch:
    """Looks after every decision. Silent for a decider without a network."""

    def __init__(self, node: ManagedNode, decider: Decider) -> None:
        self._node, self._decider = node, decider if isinstance(decider, NetworkDecider) else None
        self._told = ""
        if self._decider is not None and self._decider.engine:
            node.get_logger().info(f"encoder: {self._decider.engine}")
            node.diagnostics.set("encoder", OK, self._decider.engine)

    def look(self) -> None:
        """Tell a fault that is new."""
        fault = "" if self._decider is None else self._decider.encoder_fault
        if fault and fault != self._told:
            self._node.get_logger().warning(f"encoder: {fault}")
            self._node.diagnostics.set("encoder", WARN, fault)
        self._told = fault
