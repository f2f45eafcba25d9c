"""What a bag says of the exploration it holds, as texts."""

import json

from worldagen.exploring import Exploration
from worldagen_ros.config import DeploymentConfig


def exploration_metadata(config: DeploymentConfig, asked: Exploration, version: str = "") -> dict[str, str]:
    """What was asked, of which policy and where. version: of the simulator."""
    simulated = config.robot.source == "simulator"
    return {
        "environment": config.sim.environment if simulated else "",
        "version": version,
        "scene": config.sim.scene if simulated else "",
        "policy": config.policy.checkpoint or config.policy.kind,
        "instructions": json.dumps(list(asked.instructions), ensure_ascii=False),
        "asked_rollouts": str(asked.rollouts),
        "steps": str(asked.steps),
        "action_noise": str(asked.action_noise),
        "seed": str(asked.seed),
    }
