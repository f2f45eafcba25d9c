"""The one file that reads and writes message payloads (pictures: images.py): our values on one side, ROS on the other."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, PoseStamped, Quaternion, TwistStamped, Vector3
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import Header

from worldagen.deciding import DecisionLoop, RoutedAt
from worldagen.decoding import decode_chunk as decode_chunk
from worldagen.decoding import decode_gripper as decode_gripper
from worldagen.decoding import decode_joints as decode_joints
from worldagen.decoding import decode_pose as decode_pose
from worldagen.decoding import decode_trace as decode_trace
from worldagen.decoding import numbers
from worldagen.decoding import stamp_to_ns as stamp_to_ns
from worldagen.errors import BadCommand, BadObservation
from worldagen.latency import Trace
from worldagen.mixture.embedding import LEVELS
from worldagen.mixture.routing import MODES, entropy_of
from worldagen.poses import Pose
from worldagen.surprise import Reading
from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import (
    CommandStatus,
    EndEffectorAction,
    GripperCommand,
    LatencyTrace,
    PolicyStatus,
    Routing,
    Surprise,
    TaskState,
)
from worldagen_sim.environment import Camera
from worldagen_sim.episode import Episodes

COMMAND_STATES = {getattr(CommandStatus, name): name for name in ("DISABLED", "READY", "RUNNING", "HOLD", "FAULT")}


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


def encode_trace(trace: Trace) -> LatencyTrace:
    """Our trace -> message."""
    sequence, captured_ns, *stamps_ns = trace
    steps = (name.removesuffix("_ns") for name in Trace._fields[2:])
    stamps = {step: ns_to_stamp(stamp_ns) for step, stamp_ns in zip(steps, stamps_ns, strict=True)}
    return LatencyTrace(header=header(captured_ns, ""), sequence=sequence, **stamps)


def encode_pose(pose: Pose, stamp_ns: int, frame_id: str) -> PoseStamped:
    """Commanded tool pose -> message."""
    msg = PoseStamped(header=header(stamp_ns, frame_id))
    msg.pose.position = Point(**dict(zip("xyz", pose.position.tolist(), strict=True)))
    msg.pose.orientation = Quaternion(**dict(zip("xyzw", pose.quaternion.tolist(), strict=True)))
    return msg


def encode_twist(motion: np.ndarray, period_s: float, stamp_ns: int, frame_id: str) -> TwistStamped:
    """A row's (6,) translation and rotation vector -> the velocity that makes them in one period."""
    velocity = (np.asarray(motion) / period_s).tolist()
    msg = TwistStamped(header=header(stamp_ns, frame_id))
    msg.twist.linear = Vector3(x=velocity[0], y=velocity[1], z=velocity[2])
    msg.twist.angular = Vector3(x=velocity[3], y=velocity[4], z=velocity[5])
    return msg


def decode_motion(msg: PoseStamped | TwistStamped, commanded: Pose, period_s: float) -> np.ndarray:
    """What a motion command asks of an arm with this commanded pose: (6,) translation and rotation vector of a row.

    Raises BadCommand on numbers that are not finite.
    """
    if isinstance(msg, PoseStamped):
        return commanded.row_to(decode_pose(msg))
    motion = np.array([*numbers(msg.twist.linear), *numbers(msg.twist.angular)]) * period_s
    if not np.isfinite(motion).all():
        raise BadCommand(f"velocity {(motion / period_s).tolist()}; expected finite numbers")
    return motion


def encode_motion(
    pose: Pose, motion: np.ndarray, twist: bool, period_s: float, stamp_ns: int, frame_id: str
) -> PoseStamped | TwistStamped:
    """What the arm is told, as a pose to go to or as the velocity that makes the motion (6,) in one period."""
    return encode_twist(motion, period_s, stamp_ns, frame_id) if twist else encode_pose(pose, stamp_ns, frame_id)


def encode_gripper(opening: float, stamp_ns: int, frame_id: str) -> GripperCommand:
    """Opening 0..1 -> message."""
    return GripperCommand(header=header(stamp_ns, frame_id), opening=float(opening))


def decode_row(
    motion: PoseStamped | TwistStamped | None,
    gripper: GripperCommand | None,
    commanded: Pose,
    period_s: float,
    opening: float = 1.0,
) -> np.ndarray:
    """What a motion and a gripper command ask of an arm: one row (7,). One that is missing asks to stay as it is.

    opening: of the gripper, last commanded. Raises BadCommand like the two it decodes.
    """
    asked = np.zeros(6) if motion is None else decode_motion(motion, commanded, period_s)
    return np.append(asked, opening if gripper is None else decode_gripper(gripper))


def encode_joints(names: tuple[str, ...], positions: np.ndarray, velocities: np.ndarray, stamp_ns: int) -> JointState:
    """(J,) rad or m, and per second -> message."""
    return JointState(header=header(stamp_ns, ""), name=list(names), position=positions.tolist(), velocity=velocities.tolist())


def encode_status(loop: DecisionLoop, missing: str, detail: str, adapter: str) -> PolicyStatus:
    """What the policy is doing -> message (header set by the caller). missing: inputs it waits for; detail: why it is idle."""
    last = loop.last
    waiting_or_running = PolicyStatus.WAITING if missing else PolicyStatus.RUNNING
    return PolicyStatus(
        state=waiting_or_running if loop.instruction else PolicyStatus.IDLE,
        instruction=loop.instruction,
        policy=loop.decider.name,
        checkpoint=loop.decider.source,
        adapter_id=adapter,
        decisions=loop.decisions,
        last_inference_time=last.inference_s if last else 0.0,
        detail=missing if loop.instruction else detail,
    )


def encode_routing(told: RoutedAt, frame_id: str) -> Routing:
    """How a decision was mixed -> message."""
    now = told.routed
    return Routing(
        header=header(told.stamp_ns, frame_id),
        mode=MODES.index(told.mode),
        places=list(now.names),
        levels=list(LEVELS),
        weights=now.weights.ravel().tolist(),
        cosines=now.routing.cosines.ravel().tolist(),
        entropy=[entropy_of(row) for row in now.weights],
        best_cosine=now.routing.best,
        abstains=now.routing.abstains,
        looking=now.looking,
        why=now.why,
    )


def encode_surprise(reading: Reading, adapter: str, frame_id: str) -> Surprise:
    """One comparison -> message. adapter: the active one, empty for none."""
    return Surprise(
        header=header(reading.stamp_ns, frame_id),
        views=list(reading.errors),
        errors=list(reading.errors.values()),
        levels=[reading.levels[view] for view in reading.errors],
        level=reading.level,
        sustained=reading.sustained,
        compared=reading.compared,
        adapter_id=adapter,
    )


def encode_task_state(episodes: Episodes) -> TaskState:
    """Where an episode stands -> message (header set by the caller)."""
    asked, state = episodes.assignment, episodes.state
    values = state.values
    return TaskState(
        episode=episodes.count,
        status=int(episodes.status),
        environment=episodes.environment.name,
        task=asked.task,
        scene=asked.scene,
        seed=asked.seed,
        instruction=asked.instruction,
        steps=episodes.steps,
        max_steps=asked.max_steps,
        detail=episodes.detail,
        names=list(values),
        values=[float(value) for value in values.values()],
    )


def decode_conditions(pairs: Iterable[str]) -> dict[str, str] | None:
    """ "name=value" texts of a reset -> conditions, None for none. Raises BadCommand for a text of another form."""
    pairs = list(pairs)
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise BadCommand(f"the condition {bad[0]!r} cannot be read; expected name=value, for example drawer=open")
    return dict(pair.split("=", 1) for pair in pairs) or None


class TaskSample(NamedTuple):
    """What a scripted expert reads of a simulator: the task, its words, the episode's seed and the named numbers."""

    task: str
    instruction: str
    seed: int
    values: Mapping[str, float]


def decode_task_state(msg: TaskState) -> TaskSample:
    """Message -> what an expert reads. Raises BadObservation when names and numbers do not match."""
    if len(msg.names) != len(msg.values):
        raise BadObservation(f"{len(msg.names)} names with {len(msg.values)} numbers; expected as many as names")
    return TaskSample(msg.task, msg.instruction, msg.seed, dict(zip(msg.names, msg.values, strict=True)))


def encode_camera_info(camera: Camera, stamp_ns: int, frame_id: str) -> CameraInfo:
    """A pinhole camera without distortion -> message."""
    f, cx, cy = float(camera.focal_length), camera.width / 2, camera.height / 2
    return CameraInfo(
        header=header(stamp_ns, frame_id),
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
