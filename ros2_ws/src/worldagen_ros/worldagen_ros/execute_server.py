"""The `execute` action: follow an instruction until the time is over, someone cancels, or something else takes over.

A goal is accepted when no other runs; its end always says why. rclpy's coroutines would keep the executor busy while a goal
waits, so the goal handle is kept and executed once, when the end is known.
"""

from collections.abc import Callable
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from worldagen.disturbance import Disturbance, make_disturbance, problem_with
from worldagen_msgs.action import ExecuteInstruction
from worldagen_ros import topics
from worldagen_ros.messages import stamp_to_ns

Result = ExecuteInstruction.Result


class ExecuteServer:
    """start(instruction, not_before_ns, disturbance) begins, stop(why) ends what was begun, decisions() counts."""

    def __init__(
        self,
        node: Node,
        start: Callable[[str, int, Disturbance | None], None],
        stop: Callable[[str], None],
        decisions: Callable[[], int],
    ) -> None:
        self._node, self._start, self._stop, self._decisions = node, start, stop, decisions
        self._goal: Any = None  # a ServerGoalHandle while one runs; rclpy's own types contradict its calls
        self._started_ns = 0
        self._server = ActionServer(
            node,
            ExecuteInstruction,
            topics.EXECUTE,
            execute_callback=lambda goal: Result(),
            goal_callback=self._on_request,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )

    def destroy(self) -> None:
        """Free what a node does not free with itself; else its participant stays alive in DDS."""
        self._server.destroy()

    def check(self, status: str) -> None:
        """Feedback and time limit; called a few times a second."""
        if self._goal is None:
            return
        elapsed, limit = self._elapsed_s(), self._goal.request.time_limit
        self._goal.publish_feedback(ExecuteInstruction.Feedback(decisions=self._decisions(), elapsed=elapsed, status=status))
        if limit > 0 and elapsed >= limit:
            self.finish(Result.TIME_LIMIT, f"the time limit of {limit:g} s is over")

    def finish(self, reason: int, message: str) -> None:
        """End the present goal, if there is one, and tell why."""
        if self._goal is None:
            return
        goal, self._goal = self._goal, None
        result = Result(reason=reason, message=message, decisions=self._decisions(), elapsed=self._elapsed_s())
        if reason != Result.REPLACED:
            self._stop(message)

        def settle(handle: ServerGoalHandle) -> ExecuteInstruction.Result:
            if reason == Result.CANCELED:
                handle.canceled()
            elif reason == Result.TIME_LIMIT:
                handle.succeed()
            else:
                handle.abort()
            return result

        goal.execute(settle)

    def _elapsed_s(self) -> float:
        return max(0.0, (self._node.get_clock().now().nanoseconds - self._started_ns) * 1e-9)

    def _on_request(self, request: Any) -> GoalResponse:
        problem = None
        if not request.instruction.strip():
            problem = "its instruction is empty"
        elif not 0.0 <= request.time_limit < float("inf"):
            problem = f"its time limit is {request.time_limit}; expected 0 or more seconds"
        elif wrong := problem_with(request.action_noise, request.noise_seed):
            problem = wrong
        elif self._goal is not None:
            problem = f"{self._goal.request.instruction!r} is running; cancel it first"
        if problem:
            self._node.get_logger().warning(f"rejected a goal: {problem}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_accepted(self, goal: ServerGoalHandle) -> None:
        self._goal = goal
        self._started_ns = self._node.get_clock().now().nanoseconds
        asked: Any = goal.request
        disturbance = make_disturbance(asked.action_noise, asked.noise_seed)
        self._start(asked.instruction, stamp_to_ns(asked.not_before), disturbance)

    def _on_cancel(self, goal: Any) -> CancelResponse:
        # The handle turns to "canceling" after this callback, so the end is settled in the executor's next round.
        if self._node.executor is not None:
            self._node.executor.create_task(self.finish, Result.CANCELED, "cancelled by the client")
        return CancelResponse.ACCEPT
