"""What messages say -> our values, for live messages of rclpy and for messages read from a bag: both have the same fields.

Only what a policy's inputs and a bag's actions need; everything else is in worldagen_ros/messages.py. Imports no ROS.
"""

from typing import Any

import numpy as np

from worldagen.errors import BadChunk, BadCommand, BadObservation
from worldagen.latency import Trace
from worldagen.pictures import decode_file, decode_pixels
from worldagen.poses import Pose
from worldagen.types import ROW_LENGTH, ActionChunk

QUATERNION_TOLERANCE = 1e-3  # of its length


def stamp_to_ns(stamp: Any) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def decode_joints(msg: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """JointState -> names and (J,) positions. Raises BadObservation on numbers not finite or not as many as names."""
    positions = np.array(msg.position, dtype=np.float64)
    if len(positions) != len(msg.name):
        raise BadObservation(f"{len(msg.name)} joint names with {len(positions)} positions; expected as many as names")
    if not np.isfinite(positions).all():
        bad = [name for name, position in zip(msg.name, positions, strict=True) if not np.isfinite(position)]
        raise BadObservation(f"positions that are not finite: {', '.join(bad)}")
    return tuple(msg.name), positions


def decode_picture(msg: Any) -> np.ndarray:
    """Image or CompressedImage of a known encoding -> (H, W, 3) uint8 RGB, without copying where possible.

    Raises BadObservation on an unknown encoding, an impossible size, or bytes that are no such picture.
    """
    if hasattr(msg, "format"):
        return decode_file(bytes(msg.data), msg.format)
    return decode_pixels(msg.height, msg.width, msg.step, msg.encoding, msg.data)


def decode_chunk(msg: Any, frame_id: str) -> ActionChunk:
    """ActionChunk -> ours. Raises BadChunk on numbers that are not finite, no rows, a bad period or another frame."""
    if msg.header.frame_id != frame_id:
        raise BadChunk(f"chunk {msg.sequence} moves along the axes of frame {msg.header.frame_id!r}; expected {frame_id!r}")
    rows = [(*numbers(row.translation), *numbers(row.rotation_vector), row.gripper_opening) for row in msg.rows]
    return ActionChunk(
        stamp_ns=stamp_to_ns(msg.header.stamp),
        sequence=msg.sequence,
        period_s=msg.row_period.sec + msg.row_period.nanosec * 1e-9,
        convention=msg.convention,
        adapter=msg.adapter_id,
        rows=np.array(rows, dtype=np.float64).reshape(-1, ROW_LENGTH),
        inference_s=msg.inference_time,
    )


def decode_trace(msg: Any) -> Trace:
    """LatencyTrace -> ours."""
    return Trace(
        sequence=msg.sequence,
        captured_ns=stamp_to_ns(msg.header.stamp),
        received_ns=stamp_to_ns(msg.received),
        decoded_ns=stamp_to_ns(msg.decoded),
        begun_ns=stamp_to_ns(msg.begun),
        preprocessed_ns=stamp_to_ns(msg.preprocessed),
        encoded_ns=stamp_to_ns(msg.encoded),
        decided_ns=stamp_to_ns(msg.decided),
        published_ns=stamp_to_ns(msg.published),
        arrived_ns=stamp_to_ns(msg.arrived),
        commanded_ns=stamp_to_ns(msg.commanded),
    )


def decode_pose(msg: Any) -> Pose:
    """PoseStamped -> tool pose. Raises BadCommand on numbers that are not finite or a quaternion whose length is not 1."""
    orientation = msg.pose.orientation
    pose = Pose(np.array(numbers(msg.pose.position)), np.array([orientation.x, orientation.y, orientation.z, orientation.w]))
    length = float(np.linalg.norm(pose.quaternion))
    if not np.isfinite(pose.position).all() or not abs(length - 1.0) < QUATERNION_TOLERANCE:
        at = pose.position.tolist()
        raise BadCommand(f"target pose at {at} with a quaternion of length {length:.4g}; expected finite numbers, length 1")
    return pose


def decode_gripper(msg: Any) -> float:
    """GripperCommand -> opening 0..1. Raises BadCommand on anything else."""
    if not 0.0 <= msg.opening <= 1.0:
        raise BadCommand(f"gripper opening {msg.opening}; expected a number from 0 (closed) to 1 (open)")
    return msg.opening


def numbers(vector: Any) -> tuple[float, float, float]:
    """Vector3 or Point -> its three numbers."""
    return vector.x, vector.y, vector.z
