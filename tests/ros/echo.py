"""A second process for test_messages.py: sends every message back, answers every service and action. Run: python echo.py

An action ends only once the asker says, on `feedback_heard`, that its feedback came: feedback and result travel on topics of
their own, and rclpy's client drops feedback that comes after the result.
"""

from contextlib import suppress

import rclpy
from filling import fill
from rclpy.action import ActionServer
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Empty

from worldagen_msgs import action, msg, srv


def kinds(module) -> list[type]:
    """The interfaces a generated module offers, without the parts they are made of (X_Request, X_Event ...)."""
    return [kind for name, kind in sorted(vars(module).items()) if isinstance(kind, type) and "_" not in name]


def make_node() -> Node:
    node = Node("echo")
    for kind in kinds(msg):
        back = node.create_publisher(kind, f"back/{kind.__name__}", 1)
        node.create_subscription(kind, f"there/{kind.__name__}", back.publish, 1)
    for kind in kinds(srv):
        node.create_service(kind, kind.__name__, _answer)
    waiting: list[Future] = []
    node.create_subscription(Empty, "feedback_heard", lambda _: waiting.pop().set_result(True) if waiting else None, 1)
    for kind in kinds(action):
        ActionServer(node, kind, kind.__name__, _executor(kind, waiting))
    return node


def _answer(request, response):
    """A filled response to exactly the filled request, an empty one to anything else."""
    return fill(response) if request == fill(type(request)()) else response


def _executor(kind, waiting):
    async def execute(goal):
        if goal.request != fill(kind.Goal()):
            goal.abort()
            return kind.Result()
        waiting.append(Future())
        heard = waiting[-1]
        goal.publish_feedback(fill(kind.Feedback()))
        await heard
        goal.succeed()
        return fill(kind.Result())

    return execute


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(make_node())
