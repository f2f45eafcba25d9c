"""The policy side's watchdog: when it cannot decide, it tells the arm to stand still at once.

The command node holds by itself when rows run out, whoever is at fault (live_command.py). This one knows sooner: an input that
is silent, or a decision that does not end, makes worthless what the present chunk still has to play.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from worldagen.homing import rows_standing
from worldagen.types import ActionChunk
from worldagen_ros.diagnostics import ERROR, OK

if TYPE_CHECKING:
    from worldagen_ros.policy_node import PolicyNode

SLOWEST_DECISION_S = 1.0


class PolicyWatch:
    """In real time only: in lockstep the simulator waits for as long as it takes. It looks whenever the inputs do."""

    def __init__(self, node: "PolicyNode", publish: Callable[[ActionChunk], None]) -> None:
        self._node, self._publish = node, publish
        self._told = False

    def decided(self) -> None:
        """A chunk was sent."""
        if self._told:
            self._node.diagnostics.set("watchdog", OK, "deciding again")
        self._told = False

    def look(self) -> None:
        """Is there a reason to stand still?"""
        node, last = self._node, self._node.loop.last
        if self._told or last is None or not node.loop.instruction:
            return
        why = node.inputs.missing
        if not why and node.loop.deciding_s > SLOWEST_DECISION_S:
            why = f"a decision takes longer than {SLOWEST_DECISION_S:g} s"
        if not why:
            return
        self._told = True
        rows = rows_standing(last.rows[-1, 6])
        now_ns = node.get_clock().now().nanoseconds
        self._publish(ActionChunk(now_ns, 0, last.period_s, last.convention, rows, last.adapter))
        node.diagnostics.set("watchdog", ERROR, f"told the arm to stand still: {why}")
