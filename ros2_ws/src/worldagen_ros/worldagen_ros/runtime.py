"""Run one node from start to end, the same way for all: own errors in one line, SIGINT and SIGTERM end cleanly."""

import signal
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
    # `ros2 launch` and a terminal both send SIGINT, so it comes twice: rclpy's own handler ends the spinning, and nothing may
    # interrupt the tidying up.
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=args)
    executor = SingleThreadedExecutor()
    node = None
    code = 0
    try:
        node = make_node()
        executor.add_node(node)
        executor.spin()
    except ExternalShutdownException:
        pass
    except WorldAgenError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        code = 1
    except Exception:
        if rclpy.ok():
            raise  # otherwise it was asked to stop while it was starting, and ROS refused it something
    finally:
        executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
