"""Run by the smoke test inside the finished environment: import what everything stands on, pass one message."""

import importlib
import sys

on_jetson, ours = "--jetson" in sys.argv, [name for name in sys.argv[1:] if name != "--jetson"]
for name in (
    *("rclpy", "torch", "mujoco", "transformers", "timm", "open_clip", "worldagen", "worldagen_sim"),
    *(["tensorrt"] if on_jetson else []),
    *ours,
):
    print(f"import {name}", flush=True)
    importlib.import_module(name)

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402, after the progress above
from sensor_msgs.msg import JointState  # noqa: E402

sent = JointState(name=["panda_joint1"], position=[0.5])
received = deserialize_message(serialize_message(sent), JointState)
assert received == sent, f"sent {sent}, received {received}"

if on_jetson:
    import torch

    if not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__}, built for CUDA {torch.version.cuda}, does not find the Jetson's GPU")
    doubled = (torch.ones(2, device="cuda") * 2).tolist()
    assert doubled == [2.0, 2.0], f"the GPU doubles ones to {doubled}"

if "worldagen_msgs" in ours:
    from worldagen_msgs.msg import ActionChunk

    chunk = ActionChunk()
    assert deserialize_message(serialize_message(chunk), ActionChunk) == chunk
print("passed one message of each kind")
