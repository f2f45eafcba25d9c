"""What makes a bag a demonstration: the deployment it is recorded with, its topics, and what its metadata say.

episode      what identifies it (environment, version, scene, task, seed), its words and how it went
contract     which topics it should hold, for `worldagen bag check`
parameters   of every node
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from worldagen.bags import contract
from worldagen.bags.types import BagMetadata, Topic
from worldagen.config import leaves
from worldagen_ros import qos
from worldagen_ros.config import DeploymentConfig
from worldagen_ros.definitions import topic_of
from worldagen_ros.recorded import contract_of_deployment, recorded_of
from worldagen_sim.demonstrations import EPISODE, Attempt, Request
from worldagen_sim.playtable.conditions import Conditions

DEPLOYMENT = "record"


def configured(config: DeploymentConfig, request: Request, renderer: str) -> DeploymentConfig:
    """The deployment that records a request."""
    sim = replace(
        config.sim,
        environment=request.environment,
        renderer=renderer,
        max_steps=request.max_steps,
        tail_steps=request.tail_steps,
    )
    return replace(config, sim=sim)


def topics_of(config: DeploymentConfig) -> dict[str, Topic]:
    """Relative name of each topic that is recorded -> what the bag is told about it."""
    return {
        item.name: topic_of(f"/{item.name.lstrip('/')}", item.type, (qos.as_bags_hold_it(item.expected),))
        for item in recorded_of(config)
    }


def metadata_before(config: DeploymentConfig, request: Request, attempt: Attempt) -> BagMetadata:
    """What is known of an episode before it is played."""
    promised = contract_of_deployment(config, lambda name: f"/{name.lstrip('/')}")
    identity = {
        "environment": request.environment,
        "version": request.version,
        "scene": attempt.scene,
        "task": attempt.task,
        "seed": str(attempt.seed),
        "instruction": attempt.instruction,
    }
    return {
        EPISODE: identity,
        contract.NAME: {contract.KEY: promised.to_json()},
        "parameters": {leaf.key: str(leaf.default) for leaf in leaves(config)},
    }


def episode_after(before: Mapping[str, str], success: bool, steps: int, conditions: Conditions) -> dict[str, str]:
    """The same with how it went; conditions: what was open, on or where at the start."""
    return {**before, "success": str(success).lower(), "steps": str(steps), "conditions": json.dumps(dict(conditions))}
