"""Whether other nodes have discovered this one. That we see them does not mean that they see us."""

import time
from typing import Any

from rcl_interfaces.srv import GetParameters
from rclpy.node import Node

ASK_PERIOD_S = 1.0


class Acquaintance:
    """Of one node with another.

    DDS announces the parts of a node in the order in which they were made. So an answer to a client proves that the other has
    discovered everything that was made before that client: make this last. Until then services and actions lose their answers,
    and subscriptions the first messages.
    """

    def __init__(self, node: Node, other: str) -> None:
        """other: name of the other node, relative to this node's namespace, or absolute."""
        self._node, self._client = node, node.create_client(GetParameters, f"{other}/get_parameters")
        self._asked_s, self._answer = -ASK_PERIOD_S, None
        self._made = False

    def made(self) -> bool:
        """Whether the other has answered. Asks it again every second, for what it answered early was lost; never waits."""
        answer: Any = self._answer
        self._made = self._made or (answer is not None and answer.done())
        if not self._made and time.monotonic() - self._asked_s > ASK_PERIOD_S:
            self._asked_s, self._answer = time.monotonic(), self._client.call_async(GetParameters.Request())
        return self._made

    def close(self) -> None:
        """Give up the client."""
        self._node.destroy_client(self._client)
