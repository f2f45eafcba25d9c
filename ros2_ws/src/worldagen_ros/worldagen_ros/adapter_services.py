"""The policy node's services around adapters: load, list, compare. The work is done between two decisions, in the worker.

A callback only waits for it, as a coroutine, so that pictures and chunks go on being served meanwhile.
"""

from collections.abc import Callable
from concurrent.futures import Future as Work
from typing import Any, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from worldagen.deciding import Adaptable, DecisionLoop
from worldagen.errors import AdaptationError, WorldAgenError
from worldagen_msgs.msg import ShadowReport
from worldagen_msgs.srv import ListAdapters, LoadAdapter, ShadowAdapter
from worldagen_ros import messages, qos, topics

Made = TypeVar("Made")
OVERRIDE = "asked for on policy/load_adapter"


class AdapterServices:
    """on_change: called when another adapter, or the base, has been made active."""

    def __init__(self, node: Node, loop: DecisionLoop, frame_id: str, on_change: Callable[[str], None]) -> None:
        self._node, self._loop, self._frame_id, self._on_change = node, loop, frame_id, on_change
        self.active = loop.decider.list_adapters()[1] if isinstance(loop.decider, Adaptable) else ""
        self._reports = node.create_publisher(ShadowReport, topics.SHADOW_REPORT, qos.LATCHED)
        self._done = node.create_guard_condition(lambda: None)  # an executor looks at its coroutines only when it is woken
        group = ReentrantCallbackGroup()  # in the node's own, everything else would wait for the coroutine, pictures too
        serve: Any = node.create_service  # its types know no coroutines, which the executor takes
        serve(LoadAdapter, topics.LOAD_ADAPTER, self._on_load, callback_group=group)
        serve(ListAdapters, topics.LIST_ADAPTERS, self._on_list, callback_group=group)
        serve(ShadowAdapter, topics.SHADOW_ADAPTER, self._on_shadow, callback_group=group)

    def report_shadow(self) -> None:
        """Publish the newest comparison, if there is one. What goes wrong with it is logged and stops nothing."""
        try:
            told = self._loop.collect_shadow()
        except WorldAgenError as error:
            self._node.get_logger().error(f"no comparison: {error}", throttle_duration_sec=2.0)
            return
        if told is not None:
            self._reports.publish(
                ShadowReport(
                    header=messages.header(told.stamp_ns, self._frame_id),
                    adapter_id=told.adapter,
                    decisions=told.decisions,
                    wanted=told.wanted,
                    translation_p99=told.translation_p99_m,
                    rotation_p99=told.rotation_p99_rad,
                    gripper_flips=told.gripper_flips,
                )
            )

    async def _on_load(self, request: LoadAdapter.Request, response: LoadAdapter.Response) -> LoadAdapter.Response:
        override = OVERRIDE if request.allow_rejected else ""
        try:
            decider = self._adaptable()
            self.active = await self.between(lambda: decider.load_adapter(request.path, override))
            response.success = True
            response.message = f"adapter {self.active} is active" if self.active else "the base is active"
            self._node.get_logger().info(response.message)
            self._on_change(self.active)
        except WorldAgenError as error:
            response.message = str(error)
            self._node.get_logger().error(f"adapter not loaded: {error}")
        response.adapter_id = self.active
        return response

    async def _on_list(self, _: ListAdapters.Request, response: ListAdapters.Response) -> ListAdapters.Response:
        decider = self._loop.decider
        if isinstance(decider, Adaptable):
            loaded, response.active_adapter_id = await self.between(decider.list_adapters)
            response.adapter_ids = list(loaded)
        return response

    async def _on_shadow(self, request: ShadowAdapter.Request, response: ShadowAdapter.Response) -> ShadowAdapter.Response:
        try:
            decider = self._adaptable()
            name = await self.between(lambda: decider.begin_shadow(request.path, request.decisions))
            response.success = True
            response.message = f"comparing {name} in {request.decisions} decisions" if name else "comparing nothing"
            self._node.get_logger().info(response.message)
        except WorldAgenError as error:
            response.message = str(error)
        return response

    def _adaptable(self) -> Adaptable:
        if not isinstance(self._loop.decider, Adaptable):
            raise AdaptationError(f"the policy is {self._loop.decider.name!r}; only a network takes adapters (policy.kind)")
        return self._loop.decider

    async def between(self, work: Callable[[], Made]) -> Made:
        """What the worker makes of it, between two decisions."""
        done: Any = Future(executor=self._node.executor)

        def settle(job: "Work[Made]") -> None:
            error = job.exception()
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(job.result())
            self._done.trigger()

        self._loop.between(work).add_done_callback(settle)
        return await done
