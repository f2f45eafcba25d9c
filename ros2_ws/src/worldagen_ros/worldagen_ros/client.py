"""Drive a running stack from Python: reset the simulator, follow an instruction, wait for the episode to end.

What `worldagen demo`, the benchmarks and the tests use; a node of its own, spun by whoever waits.
"""

import time
from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.action import ActionClient
from rclpy.node import Node

from worldagen.errors import WorldAgenError
from worldagen_msgs.action import ExecuteInstruction
from worldagen_msgs.msg import TaskState
from worldagen_msgs.srv import ResetPolicy, ResetSimulator
from worldagen_ros import qos, topics
from worldagen_ros.acquaintance import Acquaintance
from worldagen_ros.messages import stamp_to_ns
from worldagen_ros.spinning import spin_once


class StackError(WorldAgenError):
    """A running stack did not do what was asked of it."""


class StackClient(Node):
    """Waits with deadlines on the wall clock; `watch` is looked at while waiting and may raise (a node that died, say)."""

    def __init__(self, namespace: str = "", watch: Callable[[], None] = lambda: None, patience_s: float = 60.0) -> None:
        super().__init__("client", namespace=namespace, enable_rosout=False)
        self._watch, self._patience_s = watch, patience_s
        self.task_state = TaskState()
        self._episode_begun = Time()  # stamp of the present episode's first instant
        self.create_subscription(TaskState, topics.TASK_STATE, self._on_task_state, qos.LATCHED)
        self._reset_simulator = self.create_client(ResetSimulator, topics.RESET_SIMULATOR)
        self._reset_policy = self.create_client(ResetPolicy, topics.RESET_POLICY)
        self._execute = ActionClient(self, ExecuteInstruction, topics.EXECUTE)
        self._acquaintances = {node: Acquaintance(self, node) for node in ("policy", "sim")}  # made last, on purpose

    def destroy_node(self) -> None:
        self._execute.destroy()  # a node does not free its action clients
        super().destroy_node()

    @property
    def episode_begun_ns(self) -> int:
        """Stamp of the present episode's first instant."""
        return stamp_to_ns(self._episode_begun)

    def wait(self, condition: Callable[[], bool], what: str, patience_s: float | None = None) -> None:
        """Spin until the condition holds; raises StackError after the patience."""
        patience_s = patience_s or self._patience_s
        deadline = time.monotonic() + patience_s
        while not condition():
            self._watch()
            if time.monotonic() > deadline:
                raise StackError(f"waited {patience_s:g} s for {what}; look at the log of the nodes")
            spin_once(self, 0.05)

    def wait_until_ready(self, with_simulator: bool = True) -> None:
        """Until the policy, and the simulator if there is one, answer."""
        self.wait(self._execute.server_is_ready, f"the action {topics.EXECUTE}")
        self._wait_until_known("policy")
        if with_simulator:
            self.wait(self._reset_simulator.service_is_ready, f"the service {topics.RESET_SIMULATOR}")
            self._wait_until_known("sim")
            self.wait(lambda: self.task_state.episode > 0, f"the topic {topics.TASK_STATE}")

    def reset_simulator(self, task: str, scene: str, seed: int, max_steps: int = 0, **more: Any) -> str:
        """Begin an episode; returns its instruction. Raises StackError with the simulator's own words.

        more: further fields of ResetSimulator, e.g. instruction, conditions, keep_world.
        """
        request = ResetSimulator.Request(task=task, scene=scene, seed=seed, max_steps=max_steps, **more)
        answer = self._call(self._reset_simulator, request)
        if not answer.success:
            raise StackError(answer.message)
        self.wait(lambda: self.task_state.episode >= answer.episode, "the new episode")
        return answer.message

    def reset_policy(self) -> str:
        """Stop whatever the policy does."""
        return self._call(self._reset_policy, ResetPolicy.Request()).message

    def begin(self, instruction: str, time_limit_s: float = 0.0) -> "Execution":
        """Ask the policy to follow an instruction; raises StackError when it refuses.

        What a simulator showed before its present episode is not answered, however late it arrives.
        """
        begun = self._episode_begun if self.task_state.episode else Time()
        goal = ExecuteInstruction.Goal(instruction=instruction, time_limit=float(time_limit_s), not_before=begun)
        handle = self._finish(self._execute.send_goal_async(goal), "the policy to take up the instruction")
        if not handle.accepted:
            raise StackError(f"the policy rejected {instruction!r}; look at its log for the reason")
        return Execution(self, handle)

    def run_episode(
        self, task: str, scene: str, seed: int, max_steps: int = 0, patience_s: float = 120.0, **more: Any
    ) -> ExecuteInstruction.Result:
        """Reset, follow the task's instruction until the episode ends, stop the policy; the outcome is in `task_state`.

        more: as for reset_simulator.
        """
        execution = self.begin(self.reset_simulator(task, scene, seed, max_steps, **more))
        self.wait(lambda: self.task_state.status != TaskState.RUNNING or execution.done, f"the end of {task}", patience_s)
        return execution.cancel()

    def _wait_until_known(self, node: str) -> None:
        """Until a node has discovered this one: a goal whose answer is lost cannot be asked twice."""
        self.wait(self._acquaintances[node].made, f"an answer of node {node}")

    def _on_task_state(self, msg: TaskState) -> None:
        if msg.episode != self.task_state.episode:
            self._episode_begun = msg.header.stamp
        self.task_state = msg

    def _call(self, client: Any, request: Any) -> Any:
        self.wait(client.service_is_ready, f"the service {client.srv_name}")
        return self._finish(client.call_async(request), f"an answer of {client.srv_name}")

    def _finish(self, future: Any, what: str) -> Any:
        self.wait(future.done, what)
        return future.result()


class Execution:
    """An accepted `execute` goal."""

    def __init__(self, client: StackClient, handle: Any) -> None:
        self._client, self._handle = client, handle
        self._result = handle.get_result_async()

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._result.done()

    def cancel(self) -> ExecuteInstruction.Result:
        """End it if it has not ended yet; returns why it did."""
        if not self.done:
            self._client._finish(self._handle.cancel_goal_async(), "the cancellation")
        return self.result()

    def result(self, patience_s: float = 60.0) -> ExecuteInstruction.Result:
        """Wait for the end; returns why it ended."""
        self._client.wait(lambda: self.done, "the end of the execution", patience_s)
        return self._result.result().result
