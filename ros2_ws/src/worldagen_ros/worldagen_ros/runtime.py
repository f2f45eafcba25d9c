"""Run one node from start to end, the same way for all: own errors in one line, SIGINT and SIGTERM end cleanly."""

import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from worldagen.errors import WorldAgenError


def run_node(make_node: Callable[[], Node], args: list[str] | None = None) -> None:
    """Spin a node until it is asked to stop. Exits with 1 and one line on standard error when it cannot start.

    Single-threaded: the multi-threaded executor of rclpy loses messages above about 100 a second.
    """
    rclpy.init(args=args)
    executor = SingleThreadedExecutor()
    node = None
    code = 0
    try:
        node = make_node()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except WorldAgenError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 1
    finally:
        executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
