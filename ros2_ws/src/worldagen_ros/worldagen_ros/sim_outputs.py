"""What the simulator node says: pictures, joint states, task state and the clock of one instant, all with one stamp."""

from collections.abc import Mapping

import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState

from worldagen_msgs.msg import TaskState
from worldagen_ros import messages, qos, topics
from worldagen_ros.instants import picture_messages, state_messages
from worldagen_sim.environment import VIEWS
from worldagen_sim.episode import Episodes


class SimOutputs:
    """Publishers of the simulator node. period_s: None in lockstep."""

    def __init__(self, node: Node, frame_id: str, period_s: float | None) -> None:
        self._frame_id = frame_id
        self._clock = node.create_publisher(Clock, topics.CLOCK, qos.CLOCK) if period_s is None else None
        kinds = {topics.JOINT_STATES: (JointState, qos.states_out()), topics.TASK_STATE: (TaskState, qos.LATCHED)}
        kinds |= {topic: (CameraInfo, qos.images_out(period_s)) for topic in topics.CAMERA_INFO_TOPICS.values()}
        kinds |= {topic: (Image, qos.images_out(period_s)) for topic in topics.CAMERA_TOPICS.values()}
        self._publishers = {topic: node.create_publisher(kind, topic, quality) for topic, (kind, quality) in kinds.items()}

    @property
    def watched(self) -> tuple[str, ...]:
        """The views whose pictures somebody listens to; nobody need draw the others."""
        return tuple(
            view for view in VIEWS if self._publishers[topics.CAMERA_TOPICS[f"{view}_camera"]].get_subscription_count()
        )

    def publish_state(self, episodes: Episodes, stamp_ns: int) -> None:
        """The clock, then where the robot and its task stand."""
        if self._clock is not None:
            self._clock.publish(Clock(clock=messages.ns_to_stamp(stamp_ns)))
        for topic, msg in state_messages(episodes, stamp_ns, self._frame_id).items():
            self._publishers[topic].publish(msg)

    def publish_pictures(self, episodes: Episodes, pictures: Mapping[str, np.ndarray], stamp_ns: int) -> None:
        """pictures: some of {"static": ..., "wrist": ...}, (H, W, 3) uint8 RGB."""
        for topic, msg in picture_messages(pictures, episodes.environment.cameras, stamp_ns).items():
            self._publishers[topic].publish(msg)
