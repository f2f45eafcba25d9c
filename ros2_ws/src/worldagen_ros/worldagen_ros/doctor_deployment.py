"""What `worldagen doctor` finds in a deployment: its values, its robot, its policy, and what its bags will take."""

import os
from pathlib import Path

from worldagen.checkpoint_files import WEIGHTS, find_checkpoint, read_conventions, read_weights_header
from worldagen.conventions import find_convention
from worldagen.doctor.findings import Finding, fail, ok, skip, warn
from worldagen.doctor.machine import BagRate
from worldagen.kinematics import ForwardKinematics
from worldagen.policy_conventions import require_match
from worldagen_ros.config import DeploymentConfig, PolicyConfig, RobotConfig
from worldagen_ros.topics import CAMERA_TOPICS

PICTURE_BYTES = 640 * 480 * 3  # of a camera that is not running


def check_deployment(config: DeploymentConfig) -> Finding:
    """What it is, in a line."""
    player = config.sim.environment if config.robot.source == "simulator" else "hardware"
    told = f"{config.timing.mode}; robot: {player}; policy: {config.policy.kind}; commands: {config.command.interface}"
    return ok("deployment", told)


def check_robot(robot: RobotConfig, kinematics: ForwardKinematics) -> Finding:
    """kinematics: of the robot; where they cannot be made, their own error says why."""
    names = kinematics.joint_names
    return ok("robot", f"{robot.urdf}: {robot.tool_frame} is moved by {len(names)} joints, {names[0]} to {names[-1]}")


def check_policy(config: DeploymentConfig) -> Finding:
    """Whether what decides can begin: files, header of the weights, and whether its numbers mean what the robot's do."""
    name, policy = "policy", config.policy
    if policy.kind != "network":
        if config.robot.source == "hardware":
            return fail(
                name, f"{policy.kind} reads a simulator's state, but robot.source is hardware", "set policy.kind to network"
            )
        return ok(name, f"{policy.kind}, scripted: needs no checkpoint")
    if not policy.checkpoint:
        return warn(
            name,
            f"random weights of the preset {policy.preset}: the arm will move at random",
            "set policy.checkpoint to a folder",
        )
    folder = find_checkpoint(policy.checkpoint)
    tensors = read_weights_header(folder)
    cameras = [camera.removesuffix("_camera") for camera in CAMERA_TOPICS]
    require_match(read_conventions(folder), find_convention(config.robot.convention), cameras, f"this {config.robot.source}")
    if policy.adapter and not Path(policy.adapter).is_dir():
        return fail(
            name, f"policy.adapter is {policy.adapter}, which is no folder", "give an adapter's folder, or leave it empty"
        )
    size = (folder / WEIGHTS).stat().st_size
    return ok(name, f"checkpoint {policy.checkpoint}: {tensors} tensors, {size / 1e6:.1f} MB, means what the robot means")


def check_policy_threads(policy: PolicyConfig, cores: int | None = None) -> Finding:
    """Whether the network asks for more cores than there are."""
    name = "policy threads"
    cores = cores or len(os.sched_getaffinity(0))
    if policy.kind != "network":
        return skip(name, f"policy {policy.kind} computes no network")
    if policy.threads > cores:
        return warn(name, f"policy.threads is {policy.threads} on {cores} cores", f"set it to {max(1, cores - 1)} or less")
    return ok(name, f"policy.threads is {policy.threads} of {cores} cores")


def expected_bag_rate(config: DeploymentConfig) -> BagRate:
    """Of a deployment that is not running, from its cameras' period."""
    hertz = 1 / config.cameras.period_s
    rate = len(CAMERA_TOPICS) * PICTURE_BYTES * hertz
    return BagRate(rate, f"assuming {len(CAMERA_TOPICS)} cameras of 640x480 at {hertz:.3g} Hz; --live measures them")
