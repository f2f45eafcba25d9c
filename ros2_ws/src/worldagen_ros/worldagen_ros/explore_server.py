"""The `explore` action: one goal at a time, refused in words when it makes no sense; its end always says why.

As in execute_server.py the goal handle is kept, and executed once, when the end is known.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from worldagen.errors import WorldAgenError
from worldagen.exploring import Exploration, ExplorationReport, Reason
from worldagen_msgs.action import Explore
from worldagen_ros import topics


class ExploreServer:
    """begin(asked, bag) starts, cancel() is asked to end it soon; whoever explores calls `finish`."""

    def __init__(
        self,
        node: Node,
        instructions: tuple[str, ...],
        begin: Callable[[Exploration, str], None],
        cancel: Callable[[], None],
    ) -> None:
        """instructions: asked where a goal names none."""
        self._node, self._instructions, self._begin, self._cancel = node, instructions, begin, cancel
        self._goal: Any = None  # a ServerGoalHandle while one runs; rclpy's own types contradict its calls
        self._server = ActionServer(
            node,
            Explore,
            topics.EXPLORE,
            execute_callback=lambda goal: Explore.Result(),
            goal_callback=self._on_request,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    def destroy(self) -> None:
        """Free what a node does not free with itself."""
        self._server.destroy()

    def tell(self, rollout: int, frames: int, time_left_s: float) -> None:
        """Feedback to the client."""
        if self._goal is not None:
            self._goal.publish_feedback(Explore.Feedback(rollout=rollout, frames=frames, time_left=float(time_left_s)))

    def finish(self, report: ExplorationReport) -> None:
        """End the present goal and tell why."""
        goal, self._goal = self._goal, None
        result = Explore.Result(
            reason=int(report.reason),
            message=report.message,
            bag=str(report.bag or ""),
            rollouts=report.rollouts,
            frames=report.frames,
            duration=report.duration_s,
        )

        def settle(handle: ServerGoalHandle) -> Explore.Result:
            if report.reason is Reason.CANCELED:
                handle.canceled()
            elif report.reason is Reason.FINISHED:
                handle.succeed()
            else:
                handle.abort()
            return result

        goal.execute(settle)

    def _asked(self, request: Any) -> Exploration:
        """A request as a value. Raises ExplorationError."""
        return Exploration(
            instructions=tuple(request.instructions) or self._instructions,
            rollouts=request.rollouts,
            steps=request.steps,
            action_noise=request.action_noise,
            seed=request.seed,
            time_limit_s=request.time_limit,
        )

    def _on_request(self, request: Any) -> GoalResponse:
        problem = ""
        if self._goal is not None:
            problem = "an exploration is under way; cancel it first"
        elif request.bag and Path(request.bag).expanduser().exists():
            problem = f"{request.bag} exists; give a folder that does not"
        else:
            try:
                self._asked(request)
            except WorldAgenError as error:
                problem = str(error)
        if problem:
            self._node.get_logger().warning(f"rejected a goal: {problem}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal: ServerGoalHandle) -> None:
        self._goal = goal
        request: Any = goal.request
        self._begin(self._asked(request), request.bag)

    def _on_cancel(self, goal: Any) -> CancelResponse:
        # The handle turns to "canceling" after this callback, so the end is settled in the executor's next round.
        if self._node.executor is not None:
            self._node.executor.create_task(self._cancel)
        return CancelResponse.ACCEPT
