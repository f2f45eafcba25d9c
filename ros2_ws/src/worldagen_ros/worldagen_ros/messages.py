"""The one file that reads and writes message payloads (pictures: images.py). Arrays and our values on one side, ROS on the other."""

from collections.abc import Mapping

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, PoseStamped, Quaternion, TwistStamped, Vector3
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from worldagen.errors import BadChunk, BadObservation
from worldagen.poses import Pose
from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import EndEffectorAction, GripperCommand, TaskState


def stamp_to_ns(stamp: Time) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def ns_to_stamp(stamp_ns: int) -> Time:
    """Nanoseconds -> builtin_interfaces/Time."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def header(stamp_ns: int, frame_id: str) -> Header:
    """A header with a stamp in nanoseconds."""
    return Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)


def encode_chunk(chunk: ActionChunk, frame_id: str) -> ActionChunkMsg:
    """Our chunk -> message."""
    sec, nanosec = divmod(round(chunk.period_s * 1e9), 1_000_000_000)
    return ActionChunkMsg(
        header=header(chunk.stamp_ns, frame_id),
        sequence=chunk.sequence,
        row_period=Duration(sec=sec, nanosec=nanosec),
        convention=chunk.convention,
        adapter_id=chunk.adapter,
        inference_time=chunk.inference_s,
        rows=[
            EndEffectorAction(
                translation=Vector3(x=row[0], y=row[1], z=row[2]),
                rotation_vector=Vector3(x=row[3], y=row[4], z=row[5]),
                gripper_opening=row[6],
            )
            for row in chunk.rows.tolist()
        ],
    )


def decode_chunk(msg: ActionChunkMsg, frame_id: str) -> ActionChunk:
    """Message -> our chunk. Raises BadChunk on numbers that are not finite, no rows, a bad period or another frame."""
    if msg.header.frame_id != frame_id:
        raise BadChunk(f"chunk {msg.sequence} moves along the axes of frame {msg.header.frame_id!r}; expected {frame_id!r}")
    rows = [
        (*_numbers(row.translation), *_numbers(row.rotation_vector), row.gripper_opening)
        for row in msg.rows
    ]
    return ActionChunk(
        stamp_ns=stamp_to_ns(msg.header.stamp),
        sequence=msg.sequence,
        period_s=msg.row_period.sec + msg.row_period.nanosec * 1e-9,
        convention=msg.convention,
        adapter=msg.adapter_id,
        rows=np.array(rows, dtype=np.float64).reshape(-1, 7),
        inference_s=msg.inference_time,
    )


def encode_pose(pose: Pose, stamp_ns: int, frame_id: str) -> PoseStamped:
    """Commanded tool pose -> message."""
    msg = PoseStamped(header=header(stamp_ns, frame_id))
    msg.pose.position = Point(**dict(zip("xyz", pose.position.tolist(), strict=True)))
    msg.pose.orientation = Quaternion(**dict(zip("xyzw", pose.quaternion.tolist(), strict=True)))
    return msg


def decode_pose(msg: PoseStamped) -> Pose:
    """Message -> tool pose."""
    orientation = msg.pose.orientation
    return Pose(
        np.array(_numbers(msg.pose.position)), np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    )


def encode_twist(motion: np.ndarray, period_s: float, stamp_ns: int, frame_id: str) -> TwistStamped:
    """A row's (6,) translation and rotation vector -> the velocity that makes them in one period."""
    velocity = (np.asarray(motion) / period_s).tolist()
    msg = TwistStamped(header=header(stamp_ns, frame_id))
    msg.twist.linear = Vector3(x=velocity[0], y=velocity[1], z=velocity[2])
    msg.twist.angular = Vector3(x=velocity[3], y=velocity[4], z=velocity[5])
    return msg


def decode_twist(msg: TwistStamped, period_s: float) -> np.ndarray:
    """Velocity -> the (6,) translation and rotation vector of one period."""
    return np.array([*_numbers(msg.twist.linear), *_numbers(msg.twist.angular)]) * period_s


def encode_gripper(opening: float, stamp_ns: int, frame_id: str) -> GripperCommand:
    """Opening 0..1 -> message."""
    return GripperCommand(header=header(stamp_ns, frame_id), opening=float(opening))


def encode_joints(names: tuple[str, ...], positions: np.ndarray, velocities: np.ndarray, stamp_ns: int) -> JointState:
    """(J,) rad or m, and per second -> message."""
    return JointState(
        header=header(stamp_ns, ""), name=list(names), position=positions.tolist(), velocity=velocities.tolist()
    )


def decode_joints(msg: JointState) -> tuple[tuple[str, ...], np.ndarray]:
    """Message -> names and (J,) positions. Raises BadObservation on numbers that are not finite or do not match the names."""
    positions = np.array(msg.position, dtype=np.float64)
    if len(positions) != len(msg.name):
        raise BadObservation(f"{len(msg.name)} joint names with {len(positions)} positions; expected as many as names")
    if not np.isfinite(positions).all():
        bad = [name for name, position in zip(msg.name, positions, strict=True) if not np.isfinite(position)]
        raise BadObservation(f"positions that are not finite: {', '.join(bad)}")
    return tuple(msg.name), positions


def decode_values(msg: TaskState) -> Mapping[str, float]:
    """A simulator's named numbers."""
    return dict(zip(msg.names, msg.values, strict=True))


def tool_row(start: Pose, end: Pose) -> np.ndarray:
    """The (6,) motion from one pose to another; a quaternion that is not of length one is refused with BadChunk."""
    length = float(np.linalg.norm(end.quaternion))
    if not np.isfinite(end.position).all() or not abs(length - 1.0) < 1e-3:
        raise BadChunk(f"target pose {end.position.tolist()} with a quaternion of length {length:.4f}; expected finite, length 1")
    return start.row_to(Pose(end.position, Rotation.from_quat(end.quaternion).as_quat()))


def _numbers(vector: Vector3 | Point) -> tuple[float, float, float]:
    return (vector.x, vector.y, vector.z)
