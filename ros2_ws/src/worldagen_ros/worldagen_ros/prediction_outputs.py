"""What the world model expects to see once the present chunk has been played, as pictures; only while somebody looks."""

from rclpy.node import Node
from sensor_msgs.msg import Image

from worldagen.deciding import Foreseen
from worldagen_ros import messages, qos, topics
from worldagen_ros.images import encode_image

TOPICS = {"static": topics.STATIC_PREDICTION, "wrist": topics.WRIST_PREDICTION}


class PredictionOutputs:
    """Publishers of expected pictures. The stamp is the instant they are expected at, so they pair with what comes then."""

    def __init__(self, node: Node) -> None:
        self._publishers = {view: node.create_publisher(Image, topic, qos.CHUNKS) for view, topic in TOPICS.items()}

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes."""
        return any(publisher.get_subscription_count() for publisher in self._publishers.values())

    def publish(self, foreseen: Foreseen) -> None:
        """Send the pictures of all views."""
        for view, publisher in self._publishers.items():
            header = messages.header(foreseen.stamp_ns, f"{view}_camera_optical_frame")
            publisher.publish(encode_image(foreseen.pictures[view], Image(header=header)))
