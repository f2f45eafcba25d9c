"""Tell a running stack what to do, and follow it until it ends; Ctrl-C cancels.

The counterpart of `ros2 action send_goal /execute worldagen_msgs/action/ExecuteInstruction "{instruction: ...}"`.
"""

import argparse
import contextlib
import os

from rclpy.signals import SignalHandlerOptions

from worldagen_msgs.action import ExecuteInstruction
from worldagen_msgs.msg import TaskState
from worldagen_ros.client import StackClient
from worldagen_ros.spinning import open_ros
from worldagen_ros.stack import stack_environment

HELP = "tell a running stack what to do"
REASONS = {
    ExecuteInstruction.Result.TIME_LIMIT: "time limit",
    ExecuteInstruction.Result.CANCELED: "cancelled",
    ExecuteInstruction.Result.REPLACED: "replaced",
    ExecuteInstruction.Result.FAULT: "fault",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("instruction", help='what to do, e.g. "open the drawer"')
    parser.add_argument("--time-limit", type=float, default=0.0, metavar="S", help="seconds of ROS time; 0: none")
    parser.add_argument("--task", default="", help="first reset the simulator to this task ...")
    parser.add_argument("--scene", default="", help="... in this scene ...")
    parser.add_argument("--seed", type=int, default=0, help="... with this seed; it then ends with the episode")
    parser.add_argument("--namespace", default="", help="namespace of the stack")
    parser.add_argument("--domain", type=int, default=None, help="ROS domain of the stack")


def run(args: argparse.Namespace) -> int:
    os.environ.update(stack_environment(os.environ, args.domain))
    with open_ros(signals=SignalHandlerOptions.NO):  # a goal is cancelled by talking to the stack
        client = StackClient(args.namespace)
        try:
            client.wait_until_ready(with_simulator=bool(args.task))
            if args.task:
                print(f"reset: {client.reset_simulator(args.task, args.scene, args.seed)}")
            execution = client.begin(args.instruction, args.time_limit)
            print(f"following {args.instruction!r}; Ctrl-C cancels", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                client.wait(
                    lambda: execution.done or (args.task and client.task_state.status != TaskState.RUNNING), "the end", 1e9
                )
            result = execution.cancel()
            print(f"{REASONS[result.reason]}: {result.message} after {result.decisions} decisions, {result.elapsed:.1f} s")
            return 0 if result.reason != ExecuteInstruction.Result.FAULT else 1
        finally:
            client.destroy_node()
