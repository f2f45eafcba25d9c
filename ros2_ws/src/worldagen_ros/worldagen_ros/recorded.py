"""What a deployment records: every topic of the stack with its type, and the contract that its bags carry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rclpy.qos import QoSProfile

from worldagen.bags.contract import Contract, TopicContract
from worldagen.conventions import CONVENTIONS
from worldagen.errors import ConfigError
from worldagen_ros import qos, topics
from worldagen_ros.config import DeploymentConfig

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
JOINT_STATE = "sensor_msgs/msg/JointState"
CHUNK = "worldagen_msgs/msg/ActionChunk"
PAUSE_S = 0.5  # in lockstep every episode begins after a longer silence


@dataclass(frozen=True)
class Recorded:
    """One topic to record: its relative name, its type, and what its publishers are expected to offer until they are seen."""

    name: str
    type: str
    expected: QoSProfile


# Cameras come from `recorded_of`, because they are recorded raw or compressed, never both.
OTHERS = (
    Recorded(topics.STATIC_CAMERA_INFO, "sensor_msgs/msg/CameraInfo", qos.images_in()),
    Recorded(topics.WRIST_CAMERA_INFO, "sensor_msgs/msg/CameraInfo", qos.images_in()),
    Recorded(topics.JOINT_STATES, JOINT_STATE, qos.states_out()),
    Recorded(topics.INSTRUCTION, "std_msgs/msg/String", qos.LATCHED),
    Recorded(topics.ACTION_CHUNK, CHUNK, qos.CHUNKS),
    Recorded(topics.EXPERT_CHUNK, CHUNK, qos.CHUNKS),
    Recorded(topics.LATENCY, "worldagen_msgs/msg/LatencyTrace", qos.CHUNKS),
    Recorded(topics.TARGET_POSE, "geometry_msgs/msg/PoseStamped", qos.commands(None)),
    Recorded(topics.DELTA_TWIST, "geometry_msgs/msg/TwistStamped", qos.commands(None)),
    Recorded(topics.GRIPPER_COMMAND, "worldagen_msgs/msg/GripperCommand", qos.commands(None)),
    Recorded(topics.TASK_STATE, "worldagen_msgs/msg/TaskState", qos.LATCHED),
    Recorded(topics.COMMAND_STATUS, "worldagen_msgs/msg/CommandStatus", qos.LATCHED),
    Recorded(topics.STACK_STATUS, "worldagen_msgs/msg/StackStatus", qos.LATCHED),
    Recorded(topics.DEADMAN, "std_msgs/msg/Bool", qos.states_out()),
    Recorded(topics.SURPRISE, "worldagen_msgs/msg/Surprise", qos.CHUNKS),
    Recorded(topics.SPEED_SCALE, "std_msgs/msg/Float64", qos.LATCHED),
    Recorded(topics.POLICY_STATUS, "worldagen_msgs/msg/PolicyStatus", qos.LATCHED),
    Recorded(topics.DIAGNOSTICS, "diagnostic_msgs/msg/DiagnosticArray", qos.DIAGNOSTICS),
    Recorded(topics.TF, "tf2_msgs/msg/TFMessage", qos.CHUNKS),
    Recorded(topics.TF_STATIC, "tf2_msgs/msg/TFMessage", qos.LATCHED),
)


def recorded_of(config: DeploymentConfig) -> tuple[Recorded, ...]:
    """Every topic to record: what the stack speaks, without recorder.skip, with recorder.also.

    Raises ConfigError on an unknown topic in skip, or an entry of also that is not `topic:package/msg/Type`.
    """
    suffix, kind = ("/compressed", COMPRESSED) if config.cameras.transport == "compressed" else ("", IMAGE)
    cameras = tuple(Recorded(f"{name}{suffix}", kind, qos.images_in()) for name in topics.CAMERA_TOPICS.values())
    spoken = {item.name: item for item in (*cameras, *OTHERS)}
    skipped = _items(config.recorder.skip)
    unknown = [name for name in skipped if name not in spoken]
    if unknown:
        raise ConfigError(f"recorder.skip names {', '.join(unknown)}; there are: {', '.join(spoken)}")
    also = [_parse(text) for text in _items(config.recorder.also)]
    return (*(item for name, item in spoken.items() if name not in skipped), *also)


def contract_of_deployment(config: DeploymentConfig, resolve: Callable[[str], str]) -> Contract:
    """What a bag of a deployment should hold. resolve: a relative topic name -> as it is on the wire.

    Required are the cameras and the joint states; rates are declared where the deployment decides them.
    """
    lockstep = config.timing.mode == "lockstep"
    camera_hz = 1.0 / config.cameras.period_s
    control_hz = 1.0 / CONVENTIONS[config.robot.convention].period_s
    images_hz = 0.0 if lockstep and not config.sim.every_picture else camera_hz
    rates: Mapping[str, float] = {
        IMAGE: images_hz,
        COMPRESSED: images_hz,
        JOINT_STATE: control_hz if config.robot.source == "simulator" else 0.0,
    }
    return Contract(
        topics=tuple(
            TopicContract(resolve(item.name), item.type, rates.get(item.type, 0.0), required=item.type in rates)
            for item in recorded_of(config)
        ),
        max_skew_s=config.cameras.max_skew_s,
        pause_s=PAUSE_S if lockstep else 0.0,
    )


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _parse(text: str) -> Recorded:
    name, colon, kind = text.partition(":")
    if not colon or not name or len(kind.split("/")) != 3:
        raise ConfigError(f"recorder.also names {text!r}; expected e.g. /scan:sensor_msgs/msg/LaserScan")
    return Recorded(name, kind, qos.images_in())
