"""What the policy node says when it has decided: the chunk and, from a demonstrator, the undisturbed one beside it."""

import time

from rclpy.node import Node

from worldagen.latency import Trace
from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_ros import messages, qos, topics
from worldagen_ros.instants import chunk_messages


class ChunkOutputs:
    """Publishers of the policy node's chunks."""

    def __init__(self, node: Node, frame_id: str, demonstrates: bool) -> None:
        self._frame_id = frame_id
        names = (topics.ACTION_CHUNK, topics.EXPERT_CHUNK) if demonstrates else (topics.ACTION_CHUNK,)
        self._publishers = {name: node.create_publisher(ActionChunkMsg, name, qos.CHUNKS) for name in names}

    def publish(self, chunk: ActionChunk, trace: Trace | None = None) -> None:
        """Send a chunk. trace: what is known so far; never of a demonstrator, whose messages are a function of its seed."""
        spoken = chunk_messages(chunk, self._frame_id)
        if trace is not None:
            spoken[topics.ACTION_CHUNK].trace = messages.encode_trace(trace._replace(published_ns=time.time_ns()))
        for topic, msg in spoken.items():
            self._publishers[topic].publish(msg)
