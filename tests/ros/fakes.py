"""Small stand-ins for robots and policies."""

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from worldagen.assembly import SampleSet
from worldagen.types import ActionChunk
from worldagen_ros import messages, qos, topics
from worldagen_ros.images import encode_image

JOINTS = tuple(f"panda_joint{index}" for index in range(1, 8))
HOME = np.array([0.0, -0.4, 0.0, -2.3, 0.0, 1.9, 0.8])
PICTURE = np.full((48, 64, 3), 90, np.uint8)


class FakeDecider:
    """Answers everything with the same small motion."""

    name, source = "fake", "nowhere"
    streams = ("static_camera", "wrist_camera", "joint_states")

    def __init__(self, rows: int = 5) -> None:
        self.instructions: list[str] = []
        self.disturbances: list[object] = []
        self.rows = rows
        self.answered: list[int] = []
        self.predictions = 0

    def reset(self, instruction: str, disturbance=None) -> None:
        self.instructions.append(instruction)
        self.disturbances.append(disturbance)

    def decide(self, samples: SampleSet) -> ActionChunk:
        self.answered.append(samples.stamp_ns)
        return ActionChunk(samples.stamp_ns, len(self.answered) - 1, 1 / 30, "calvin", np.full((self.rows, 7), 0.001))

    def prepare(self) -> None:
        pass

    def predict(self) -> dict[str, np.ndarray]:
        self.predictions += 1
        return {"static": PICTURE, "wrist": PICTURE}


class FakeRobot(Node):
    """Cameras and joint states at 30 Hz, each of which can be switched off or corrupted."""

    def __init__(self, period_s: float = 1 / 30, picture_qos=None) -> None:
        super().__init__("robot")
        self.silent: set[str] = set()
        self.positions = HOME.copy()
        self.efforts: list[float] = []
        self.clock_offset_s: float | None = 0.0  # of the joint states' stamps; None: no stamp at all
        self.corrupt = lambda msg: msg  # applied to the static camera's messages
        quality = picture_qos or qos.images_in()
        self.cameras = {name: self.create_publisher(Image, topic, quality) for name, topic in topics.CAMERA_TOPICS.items()}
        self.joints = self.create_publisher(JointState, topics.JOINT_STATES, qos.states_out())
        self.create_timer(period_s, self.speak)

    def speak(self) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        for name, publisher in self.cameras.items():
            if name not in self.silent:
                msg = encode_image(PICTURE, Image(header=messages.header(stamp_ns, name)))
                publisher.publish(self.corrupt(msg) if name == "static_camera" else msg)
        if "joint_states" not in self.silent:
            offset_s = self.clock_offset_s
            told_ns = 0 if offset_s is None else stamp_ns + round(offset_s * 1e9)
            joints = messages.encode_joints(JOINTS, self.positions, np.zeros(7), told_ns)
            joints.effort = self.efforts
            self.joints.publish(joints)
