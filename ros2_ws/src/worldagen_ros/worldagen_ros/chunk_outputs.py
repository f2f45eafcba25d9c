"""What the policy node says when it has decided: the chunk and, from a demonstrator, the undisturbed one beside it."""

from rclpy.node import Node

from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_ros import qos, topics
from worldagen_ros.instants import chunk_messages


class ChunkOutputs:
    """Publishers of the policy node's chunks."""

    def __init__(self, node: Node, frame_id: str, demonstrates: bool) -> None:
        self._frame_id = frame_id
        names = (topics.ACTION_CHUNK, topics.EXPERT_CHUNK) if demonstrates else (topics.ACTION_CHUNK,)
        self._publishers = {name: node.create_publisher(ActionChunkMsg, name, qos.CHUNKS) for name in names}

    def publish(self, chunk: ActionChunk) -> None:
        """Send a chunk."""
        for topic, msg in chunk_messages(chunk, self._frame_id).items():
            self._publishers[topic].publish(msg)
