"""Small demonstrations as bags, made without ROS: an arm that moves a little, its pictures, its chunks and its commands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bag_making import BEST_EFFORT, JOINTS, SECOND_NS, STATIC, WORDS, WRIST, Record, write_bag
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from worldagen.bags.types import Topic
from worldagen.kinematics import ForwardKinematics
from worldagen.poses import Pose

MESSAGES = Path(__file__).parents[2] / "ros2_ws" / "src" / "worldagen_msgs" / "msg"
STORE = get_typestore(Stores.ROS2_JAZZY)
for _name in ("EndEffectorAction", "LatencyTrace", "ActionChunk", "GripperCommand", "TaskState", "PolicyStatus"):
    _kind = f"worldagen_msgs/msg/{_name}"
    STORE.register(get_types_from_msg((MESSAGES / f"{_name}.msg").read_text("utf-8"), _kind))
TYPES = STORE.types
ARM = tuple(f"panda_joint{number}" for number in range(1, 8))
FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
HOME = np.array([0.0, -0.4, 0.0, -2.3, 0.0, 1.9, 0.8])
KINEMATICS = ForwardKinematics("panda", "panda_hand_tcp")


def topic(name: str, kind: str) -> Topic:
    schema, _ = STORE.generate_msgdef(kind, ros_version=2)
    return Topic(name, kind, schema, STORE.hash_rihs01(kind), (BEST_EFFORT,))


CHUNKS = topic("/action_chunk", "worldagen_msgs/msg/ActionChunk")
EXPERT = topic("/expert/action_chunk", CHUNKS.type)
TARGET_POSE = topic("/target_pose", "geometry_msgs/msg/PoseStamped")
GRIPPER = topic("/gripper_command", "worldagen_msgs/msg/GripperCommand")
STATUS = topic("/policy/status", "worldagen_msgs/msg/PolicyStatus")
TASK_STATE = topic("/sim/task_state", "worldagen_msgs/msg/TaskState")


@dataclass(frozen=True, eq=False)
class Demonstration:
    """T instants. rows, clean: (T, 7) what was done and what should have been. joints: (T, 9) arm and fingers."""

    words: str
    stamps_ns: np.ndarray
    static: np.ndarray
    wrist: np.ndarray
    joints: np.ndarray
    rows: np.ndarray
    clean: np.ndarray


def demonstrate(
    words: str = "push the block",
    steps: int = 12,
    seed: int = 0,
    start_s: float = 1000.0,
    rate_hz: float = 30.0,
    side: int = 12,
) -> Demonstration:
    """Random pictures, small random motions, a gripper that closes half way."""
    random = np.random.default_rng(seed)
    rows = np.column_stack([random.uniform(-0.01, 0.01, (steps, 6)), np.arange(steps) < steps // 2]).astype(float)
    fingers = np.full((steps, 2), 0.04)
    return Demonstration(
        words,
        round(start_s * SECOND_NS) + np.round(np.arange(steps) * SECOND_NS / rate_hz).astype(np.int64),
        random.integers(0, 256, (steps, side, side, 3), np.uint8),
        random.integers(0, 256, (steps, side, side, 3), np.uint8),
        np.column_stack([HOME + np.cumsum(random.normal(0, 0.01, (steps, 7)), axis=0), fingers]),
        rows,
        rows + np.append(random.uniform(-0.001, 0.001, 6), 0.0),
    )


def records_of(
    shown: Demonstration, chunk_rows: int = 3, without: Collection[Topic] = (), joint_names: Sequence[str] = (*ARM, *FINGERS)
) -> list[Record]:
    """Everything at its own instant, received as it is stamped: words first, then pictures, joints, chunks and commands."""
    records: list[Record] = [(WORDS, text(shown.words), int(shown.stamps_ns[0]), int(shown.stamps_ns[0]))]
    pose = Pose.from_euler(KINEMATICS.tool_pose(ARM, shown.joints[0, :7]))
    period_s = float(np.median(np.diff(shown.stamps_ns))) * 1e-9
    for step, stamp in enumerate(shown.stamps_ns.tolist()):
        pose = pose.moved(shown.rows[step])
        said = [
            (STATIC, picture(stamp, shown.static[step])),
            (WRIST, picture(stamp, shown.wrist[step])),
            (JOINTS, joints(stamp, joint_names, shown.joints[step])),
            (TASK_STATE, task_state(stamp, {"drawer": 0.1 * step, "lamp": float(step > 3)})),
        ]
        if step % chunk_rows == 0:
            said += [
                (CHUNKS, chunk(stamp, shown.rows[step : step + chunk_rows], period_s)),
                (EXPERT, chunk(stamp, shown.clean[step : step + chunk_rows], period_s)),
            ]
        said += [(TARGET_POSE, pose_message(stamp, pose)), (GRIPPER, gripper(stamp, shown.rows[step, 6]))]
        records += [(what, data, stamp, stamp) for what, data in said]
    return [record for record in records if record[0] not in without]


def write_demonstration(folder: Path, shown: Demonstration | None = None, **options) -> Path:
    """One bag of one demonstration."""
    write_bag(folder, records_of(shown or demonstrate(), **options))
    return folder


def header(stamp_ns: int):
    return TYPES["std_msgs/msg/Header"](TYPES["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND_NS)), "world")


def encode(kind: str, message: object) -> bytes:
    return bytes(STORE.serialize_cdr(message, kind))


def text(words: str) -> bytes:
    return encode(WORDS.type, TYPES[WORDS.type](words))


def picture(stamp_ns: int, pixels: np.ndarray) -> bytes:
    height, width, _ = pixels.shape
    return encode(STATIC.type, TYPES[STATIC.type](header(stamp_ns), height, width, "rgb8", 0, width * 3, pixels.reshape(-1)))


def joints(stamp_ns: int, names: Sequence[str], positions: np.ndarray) -> bytes:
    message = TYPES[JOINTS.type](header(stamp_ns), list(names), np.asarray(positions, float), np.zeros(0), np.zeros(0))
    return encode(JOINTS.type, message)


def untraced() -> Any:
    """A LatencyTrace that nobody filled in."""
    never = TYPES["builtin_interfaces/msg/Time"](0, 0)
    return TYPES["worldagen_msgs/msg/LatencyTrace"](header(0), 0, *[never] * 9)


def chunk(stamp_ns: int, rows: np.ndarray, period_s: float = 1 / 30) -> bytes:
    vector, action = TYPES["geometry_msgs/msg/Vector3"], TYPES["worldagen_msgs/msg/EndEffectorAction"]
    period = TYPES["builtin_interfaces/msg/Duration"](0, round(period_s * SECOND_NS))
    moves: Any = [action(vector(*row[:3]), vector(*row[3:6]), row[6]) for row in np.asarray(rows).tolist()]
    return encode(CHUNKS.type, TYPES[CHUNKS.type](header(stamp_ns), 0, period, "calvin", "", 0.0, moves, untraced()))


def status(stamp_ns: int, words: str) -> bytes:
    return encode(STATUS.type, TYPES[STATUS.type](header(stamp_ns), 1 if words else 0, words, "network", "", "", 0, 0.0, ""))


def pose_message(stamp_ns: int, pose: Pose) -> bytes:
    at = TYPES["geometry_msgs/msg/Point"](*pose.position.tolist())
    turned = TYPES["geometry_msgs/msg/Quaternion"](*pose.quaternion.tolist())
    message = TYPES[TARGET_POSE.type](header(stamp_ns), TYPES["geometry_msgs/msg/Pose"](at, turned))
    return encode(TARGET_POSE.type, message)


def gripper(stamp_ns: int, opening: float) -> bytes:
    return encode(GRIPPER.type, TYPES[GRIPPER.type](header(stamp_ns), float(opening)))


def task_state(stamp_ns: int, values: dict[str, float], names: Sequence[str] | None = None) -> bytes:
    told = (
        header(stamp_ns),
        1,
        1,
        "playtable",
        "push",
        "D",
        0,
        "push",
        0,
        0,
        "",
        list(names or values),
        np.array([*values.values()]),
    )
    return encode(TASK_STATE.type, TYPES[TASK_STATE.type](*told))
