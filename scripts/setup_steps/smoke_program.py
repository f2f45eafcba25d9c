"""Run by the smoke test inside the finished environment: import what everything stands on, pass one message."""

import importlib
import sys

for name in ("rclpy", "torch", "mujoco", "transformers", "timm", "open_clip", "worldagen", "worldagen_sim", *sys.argv[1:]):
    print(f"import {name}", flush=True)
    importlib.import_module(name)

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402, after the progress above
from sensor_msgs.msg import JointState  # noqa: E402

sent = JointState(name=["panda_joint1"], position=[0.5])
received = deserialize_message(serialize_message(sent), JointState)
assert received == sent, f"sent {sent}, received {received}"

if "worldagen_msgs" in sys.argv[1:]:
    from worldagen_msgs.msg import ActionChunk

    chunk = ActionChunk()
    assert deserialize_message(serialize_message(chunk), ActionChunk) == chunk
print("passed one message of each kind")
