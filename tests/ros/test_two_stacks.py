"""Two stacks in one domain, each in a namespace of its own, do not hear each other."""

import time

import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import JointState

from worldagen.types import ActionChunk
from worldagen_msgs.msg import ActionChunk as ActionChunkMsg
from worldagen_msgs.msg import TaskState
from worldagen_ros import messages, qos, topics
from worldagen_ros.client import StackClient
from worldagen_ros.config import load_deployment

SIDES = ("left", "right")
TASKS = {"left": "push_blue_block_left", "right": "open_drawer"}
OWN = (topics.COMMAND_STATUS, topics.TASK_STATE, topics.STACK_STATUS, topics.HEARTBEATS, topics.POLICY_STATUS, "clock")
UNKNOWN = "_NODE_NAMESPACE_UNKNOWN_"  # as the middleware says it


def send_a_chunk(client: StackClient, side: str) -> None:
    """One that answers the present instant of that side's simulator, from a stranger."""
    stranger, seen = Node("stranger", namespace=side), []
    stranger.create_subscription(JointState, topics.JOINT_STATES, seen.append, qos.states())
    chunks = stranger.create_publisher(ActionChunkMsg, topics.ACTION_CHUNK, qos.CHUNKS)

    def listens() -> bool:  # the simulator and the command node, at least; it shows its instant again when no answer comes
        rclpy.spin_once(stranger, timeout_sec=0.0)
        return chunks.get_subscription_count() >= 2 and bool(seen)

    client.wait(listens, "the other side's joint states")
    stamp_ns = messages.stamp_to_ns(seen[-1].header.stamp)
    chunks.publish(messages.encode_chunk(ActionChunk(stamp_ns, 0, 1 / 30, "calvin", np.full((5, 7), 0.001)), "world"))
    client.wait(lambda: client.task_state.steps == 5, "the rows of the chunk")
    stranger.destroy_node()


def homes_of(client: StackClient, topic: str) -> set[str]:
    """Namespaces of the nodes that publish there; a publisher is met a moment before its node has a name."""

    def found() -> set[str]:
        return {info.node_namespace for info in client.get_publishers_info_by_topic(topic)}

    client.wait(lambda: UNKNOWN not in found(), f"the names of the nodes that publish {topic}")
    return found()


def test_two_stacks_in_one_domain_finish_their_tasks_and_do_not_touch_each_other(start_stack):
    for side in SIDES:
        start_stack(load_deployment("sim", {"sim.renderer": "raycast"}), side)
    rclpy.init(args=[])
    clients = {side: StackClient(side) for side in SIDES}
    left, right = clients.values()
    try:
        for client in clients.values():
            client.wait_until_ready()

        names = {name for name, _ in left.get_topic_names_and_types()}
        for topic in OWN:
            assert {name for name in names if name.endswith(f"/{topic}")} == {f"/{side}/{topic}" for side in SIDES}
            for side in SIDES:
                assert homes_of(left, f"/{side}/{topic}") == {f"/{side}"}, topic

        assert messages.stamp_to_ns(left.task_state.header.stamp) == messages.stamp_to_ns(right.task_state.header.stamp)
        send_a_chunk(left, "left")  # its stamp would fit both
        until_s = time.monotonic() + 0.5
        while time.monotonic() < until_s:
            rclpy.spin_once(right, timeout_sec=0.05)
        assert right.task_state.steps == 0
        executions = {side: clients[side].begin(clients[side].reset_simulator(TASKS[side], "A", seed=1)) for side in SIDES}
        assert (right.task_state.episode, left.task_state.episode) == (2, 2)
        for side, client in clients.items():
            client.wait(lambda: client.task_state.status != TaskState.RUNNING, f"the end on the {side}", 60.0)  # noqa: B023
            executions[side].cancel()
            assert (client.task_state.task, client.task_state.status) == (TASKS[side], TaskState.SUCCEEDED)
    finally:
        for client in clients.values():
            client.destroy_node()
        rclpy.try_shutdown()
