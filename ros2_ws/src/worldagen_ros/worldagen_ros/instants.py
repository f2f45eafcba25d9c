"""What the stack says at one instant, as messages by topic: the nodes publish them, direct recording writes them down.

Both use the same functions here, so that a recording without ROS in between holds the same messages.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from worldagen.types import ActionChunk
from worldagen_ros import messages, topics
from worldagen_ros.images import encode_image
from worldagen_sim.environment import Camera
from worldagen_sim.episode import Episodes


def state_messages(episodes: Episodes, stamp_ns: int, frame_id: str) -> dict[str, Any]:
    """Joints first: nothing can answer an instant before its joints are out, which is where latencies begin."""
    state, task = episodes.state, messages.encode_task_state(episodes)
    task.header = messages.header(stamp_ns, frame_id)
    joints = messages.encode_joints(state.joint_names, state.joint_positions, state.joint_velocities, stamp_ns)
    return {topics.JOINT_STATES: joints, topics.TASK_STATE: task}


def picture_messages(pictures: Mapping[str, np.ndarray], cameras: Mapping[str, Camera], stamp_ns: int) -> dict[str, Any]:
    """pictures: some of {"static": ..., "wrist": ...}, (H, W, 3) uint8 RGB; each comes after its camera's numbers."""
    spoken: dict[str, Any] = {}
    for name, picture in pictures.items():
        frame_id = f"{name}_camera_optical_frame"
        spoken[topics.CAMERA_INFO_TOPICS[f"{name}_camera"]] = messages.encode_camera_info(cameras[name], stamp_ns, frame_id)
        image = encode_image(picture, Image(header=messages.header(stamp_ns, frame_id)))
        spoken[topics.CAMERA_TOPICS[f"{name}_camera"]] = image
    return spoken


def chunk_messages(chunk: ActionChunk, frame_id: str) -> dict[str, Any]:
    """The chunk and, from a demonstrator, what it would have been undisturbed."""
    spoken = {topics.ACTION_CHUNK: messages.encode_chunk(chunk, frame_id)}
    if chunk.clean_rows is not None:
        spoken[topics.EXPERT_CHUNK] = messages.encode_chunk(replace(chunk, rows=chunk.clean_rows, clean_rows=None), frame_id)
    return spoken
