"""What the simulator node says: pictures, joint states, task state and the clock of one instant, all with one stamp."""

from collections.abc import Mapping

import numpy as np
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from worldagen_msgs.msg import TaskState
from worldagen_ros import messages, qos, topics
from worldagen_ros.images import encode_image
from worldagen_sim.environment import SimState


class SimOutputs:
    """Publishers of the simulator node. period_s: None in lockstep."""

    def __init__(self, node: Node, frame_id: str, period_s: float | None) -> None:
        self._frame_id = frame_id
        self._clock = node.create_publisher(Clock, topics.CLOCK, qos.CLOCK) if period_s is None else None
        self._joints = node.create_publisher(JointState, topics.JOINT_STATES, qos.states_out())
        self._task = node.create_publisher(TaskState, topics.TASK_STATE, qos.LATCHED)
        self._cameras = {
            name: node.create_publisher(Image, topic, qos.images_out(period_s)) for name, topic in topics.CAMERA_TOPICS.items()
        }

    def publish_state(self, state: SimState, task: TaskState, stamp_ns: int) -> None:
        """Clock and joints first: nothing can answer an instant before its joints are out, which is where latencies begin."""
        if self._clock is not None:
            self._clock.publish(Clock(clock=messages.ns_to_stamp(stamp_ns)))
        self._joints.publish(messages.encode_joints(state.joint_names, state.joint_positions, state.joint_velocities, stamp_ns))
        task.header = messages.header(stamp_ns, self._frame_id)
        self._task.publish(task)

    def publish_pictures(self, pictures: Mapping[str, np.ndarray], stamp_ns: int) -> None:
        """pictures: some of {"static": ..., "wrist": ...}, (H, W, 3) uint8 RGB."""
        for name, picture in pictures.items():
            msg = Image(header=messages.header(stamp_ns, f"{name}_camera_optical_frame"))
            self._cameras[f"{name}_camera"].publish(encode_image(picture, msg))
