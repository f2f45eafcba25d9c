"""A second process for test_messages.py: once told to, publishes pictures. Run: camera.py WIDTH HEIGHT COUNT"""

import sys
from contextlib import suppress

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from worldagen_ros import qos
from worldagen_ros.images import encode_image


class Camera(Node):
    def __init__(self, width: int, height: int, count: int) -> None:
        super().__init__("camera")
        self.shape, self.left, self.sent = (height, width, 3), count, 0
        quality = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.publisher = self.create_publisher(Image, "picture", quality)
        self.create_subscription(Image, "start", self.start, qos.LATCHED)

    def start(self, _: Image) -> None:
        self.create_timer(1 / 30, self.shoot)

    def shoot(self) -> None:
        if self.sent < self.left:
            self.publisher.publish(encode_image(np.full(self.shape, self.sent, np.uint8), Image()))
            self.sent += 1


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Camera(*map(int, sys.argv[1:])))
