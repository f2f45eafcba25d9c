"""Explore through the ROS nodes: start a deployment with its recorder and explore node, send it the goal, wait for the end."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rclpy.action import ActionClient

from worldagen.exploring import Exploration, ExplorationReport, Progress, Reason
from worldagen_msgs.action import Explore
from worldagen_ros import topics
from worldagen_ros.client import StackError
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.explore_direct import configured
from worldagen_ros.running import open_stack

ENDING_S = 30.0  # for a cancelled exploration


def explore_through_ros(
    config: DeploymentConfig,
    asked: Exploration,
    bag: Path,
    progress: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    domain: int | None = None,
) -> ExplorationReport:
    """As explore_direct, through the nodes; what they say goes to a file beside the bag, BAG.log.

    Raises StackError when a node ends, or the goal is rejected.
    """
    config = configured(config, asked)
    config = replace(
        config, recorder=replace(config.recorder, enabled=True), explore=replace(config.explore, enabled=True, begin="auto")
    )
    bag.parent.mkdir(parents=True, exist_ok=True)
    log = bag.with_name(f"{bag.name}.log")
    with open_stack(config, log, domain) as client:
        action = ActionClient(client, Explore, topics.EXPLORE)
        try:
            client.wait(action.server_is_ready, "the explore node")

            def hear(msg: Any) -> None:
                told = msg.feedback
                progress(Progress(told.rollout, asked.rollouts, told.frames, told.time_left))

            goal = Explore.Goal(
                instructions=list(asked.instructions),
                rollouts=asked.rollouts,
                steps=asked.steps,
                seed=asked.seed,
                action_noise=asked.action_noise,
                time_limit=asked.time_limit_s,
                bag=str(bag.absolute()),
            )
            sent = action.send_goal_async(goal, hear)
            client.wait(sent.done, "an answer to the goal")
            handle: Any = sent.result()
            if not handle.accepted:
                raise StackError(f"the explore node rejected the goal; {log} says why")
            ended = handle.get_result_async()
            client.wait(lambda: ended.done() or should_stop(), "the end", float("inf"))
            if not ended.done():
                handle.cancel_goal_async()
                client.wait(ended.done, "the end of what was cancelled", ENDING_S)
            result = ended.result().result
        finally:
            action.destroy()
    written = Path(result.bag) if result.bag else None
    return ExplorationReport(Reason(result.reason), result.message, written, result.rollouts, result.frames, result.duration)
