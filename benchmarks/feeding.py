"""A robot's load for the recorder benchmarks, as a process: two 640x480 rgb8 cameras at 30 Hz, joint states at 100 Hz.

    python benchmarks/feeding.py [SECONDS]

It begins once somebody hears all of its topics, and ends after SECONDS or when its standard input is closed; then it prints, as
JSON, the stamps (ns) of all that it published on each topic. Pictures look like a camera's: smooth, with sensor noise.
"""

import json
import struct
import sys
import threading
import time

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

from worldagen_ros import messages, qos, topics
from worldagen_ros.images import encode_image

WIDTH, HEIGHT, FRAMES = 640, 480, 16
CAMERA_HZ, JOINTS_HZ = 30.0, 100.0
JOINTS = tuple(f"panda_joint{index}" for index in range(1, 8))


class Feeder(Node):
    """Publishes serialised messages with only the stamp changed, so that it takes little of the machine it measures."""

    def __init__(self) -> None:
        super().__init__("feeder")
        quality = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)  # as camera drivers offer
        self.speakers: dict[str, Publisher] = {}
        for name, topic in topics.CAMERA_TOPICS.items():
            self.speakers[name] = self.create_publisher(Image, topic, quality)
        self.speakers["joint_states"] = self.create_publisher(JointState, topics.JOINT_STATES, qos.states_out())
        self.sent: dict[str, list[int]] = {speaker.topic_name: [] for speaker in self.speakers.values()}
        self.frames = make_frames()
        still = messages.encode_joints(JOINTS, np.zeros(7), np.zeros(7), 0)
        self.joints = bytearray(serialize_message(still))
        self.count = 0

    @property
    def heard(self) -> bool:
        """Whether every topic has a reader."""
        return all(speaker.get_subscription_count() for speaker in self.speakers.values())

    def begin(self) -> None:
        self.create_timer(1 / CAMERA_HZ, self.show)
        self.create_timer(1 / JOINTS_HZ, lambda: self.say("joint_states", self.joints))

    def show(self) -> None:
        self.count += 1
        for index, name in enumerate(topics.CAMERA_TOPICS):
            self.say(name, self.frames[(self.count + index) % FRAMES])

    def say(self, name: str, data: bytearray) -> None:
        stamp_ns = time.time_ns()
        struct.pack_into("<iI", data, 4, *divmod(stamp_ns, 1_000_000_000))
        self.speakers[name].publish(bytes(data))
        self.sent[self.speakers[name].topic_name].append(stamp_ns)


def make_frames() -> list[bytearray]:
    """Serialised pictures: a moving gradient, and two bits of noise."""
    generator = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    frames = []
    for index in range(FRAMES):
        smooth = np.stack([across // 4 + 4 * index, down // 3, (across + down) // 6], axis=2)
        picture = ((smooth + generator.integers(0, 4, smooth.shape)) % 256).astype(np.uint8)
        frames.append(bytearray(serialize_message(encode_image(picture, Image()))))
    return frames


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    rclpy.init(args=[])
    feeder, executor, told_to_end = Feeder(), SingleThreadedExecutor(), threading.Event()
    executor.add_node(feeder)
    threading.Thread(target=lambda: (sys.stdin.read(), told_to_end.set()), daemon=True).start()
    while not feeder.heard and not told_to_end.is_set():
        executor.spin_once(timeout_sec=0.05)
    deadline = time.monotonic() + 1.0  # that we see a reader does not mean that it is connected already
    while time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.05)
    print("begun", flush=True)
    feeder.begin()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not told_to_end.is_set():
        executor.spin_once(timeout_sec=0.1)
    print(json.dumps(feeder.sent), flush=True)
    sys.stdin.read()  # live on until whoever listens has all of it
    feeder.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
