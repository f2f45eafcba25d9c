"""Run one node from start to end, the same way for all: own errors in one line, SIGINT and SIGTERM end cleanly."""

import signal
import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from worldagen.errors import WorldAgenError
from worldagen_ros.managed import ManagedNode


def run_node(make_node: Callable[[], ManagedNode], args: list[str] | None = None) -> None:
    """Spin a node until it is asked to stop, which takes it down. Exits with 1 and one line when it cannot start.

    A manager brings it up, or, with the parameter autostart, it brings up itself.

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
        if node.has_parameter("autostart") and node.get_parameter("autostart").value:
            node.bring_up()
        executor.spin()
    except ExternalShutdownException:
        pass
    except WorldAgenError:
        code = 1  # the node has said why
    except Exception:
        if rclpy.ok():
            raise  # otherwise it was asked to stop while it was starting, and ROS refused it something
    finally:
        executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
