"""The policy node's routing by a bank of places: told with every change, begun anew on request and after a surprise."""

from collections.abc import Awaitable, Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup

from worldagen.deciding import DecisionLoop, Routable, RoutedAt
from worldagen.errors import BankError, WorldAgenError
from worldagen.mixture.router import SURPRISE
from worldagen_msgs.msg import Routing, Surprise
from worldagen_msgs.srv import Route
from worldagen_ros import messages, qos, topics
from worldagen_ros.diagnostics import OK, WARN
from worldagen_ros.managed import ManagedNode


class RoutingServices:
    """Silent for a decider without a bank. between: does work in the decider's worker and waits for it as a coroutine."""

    def __init__(
        self, node: ManagedNode, loop: DecisionLoop, frame_id: str, between: Callable[[Callable[[], Any]], Awaitable[Any]]
    ) -> None:
        self._node, self._loop, self._frame_id, self._between = node, loop, frame_id, between
        self._told: RoutedAt | None = None
        self._surprised = False
        self._publisher = node.create_publisher(Routing, topics.ROUTING, qos.LATCHED)
        serve: Any = node.create_service  # its types know no coroutines, which the executor takes
        serve(Route, topics.ROUTE, self._on_route, callback_group=ReentrantCallbackGroup())
        node.create_subscription(Surprise, topics.SURPRISE, self._on_surprise, qos.CHUNKS)

    def report(self) -> None:
        """Tell how the newest decision was mixed, when that is another way than before."""
        decider = self._loop.decider
        routed = decider.routed if isinstance(decider, Routable) else None
        if routed is None:
            self._tell_off()
            return
        if self._told is not None and same_routing(self._told, routed):
            return
        self._told = routed
        self._publisher.publish(messages.encode_routing(routed, self._frame_id))
        self._diagnose(routed)

    def _tell_off(self) -> None:
        """Routing has ended: an adapter was loaded by hand, or it was asked to."""
        if self._told is None:
            return
        self._told = None
        stamp_ns = self._node.get_clock().now().nanoseconds
        self._publisher.publish(Routing(header=messages.header(stamp_ns, self._frame_id), mode=Routing.OFF))
        self._node.diagnostics.set("routing", OK, "off")

    def _diagnose(self, told: RoutedAt) -> None:
        now = told.routed
        values = {name: f"{share:.2f}" for name, share in now.shares.items()}
        values |= {"best_cosine": f"{now.routing.best:.2f}", "looking": now.looking, "why": now.why}
        if now.routing.abstains:
            text = "no known place is near: the base drives; explore and adapt here"
            self._node.diagnostics.set("routing", WARN, text, values)
            self._node.get_logger().warning(f"routing: {text} (best cosine {now.routing.best:.2f})")
        else:
            level = WARN if now.saturated else OK
            text = "refinement saturated: the bank's own prototypes are used" if now.saturated else now.routing.nearest
            self._node.diagnostics.set("routing", level, text, values)

    async def _on_route(self, request: Route.Request, response: Route.Response) -> Route.Response:
        try:
            decider = self._loop.decider
            if not isinstance(decider, Routable):
                raise BankError(f"the policy is {decider.name!r}; only a network routes by a bank of places (policy.kind)")
            response.message = await self._between(lambda: decider.route(request.mode))
            response.success = True
            self.report()
            self._node.get_logger().info(f"routing: {response.message}")
        except WorldAgenError as error:
            response.message = str(error)
            self._node.get_logger().error(f"not routed: {error}")
        return response

    def _on_surprise(self, msg: Surprise) -> None:
        """The place may have become another one: once for each time that surprise lasts."""
        decider = self._loop.decider
        if msg.sustained and not self._surprised and isinstance(decider, Routable):
            self._loop.between(lambda: decider.look_again(SURPRISE))
        self._surprised = msg.sustained


def same_routing(one: RoutedAt, other: RoutedAt) -> bool:
    """Whether two decisions were mixed alike, as far as anybody is told."""
    a, b = one.routed, other.routed
    return (one.mode, a.names, a.looking, a.why, a.saturated, a.routing.abstains) == (
        other.mode,
        b.names,
        b.looking,
        b.why,
        b.saturated,
        b.routing.abstains,
    ) and a.weights.tobytes() == b.weights.tobytes()
