"""ROS for as long as a block of Python lasts, and a Ctrl-C or SIGTERM that ends it between two turns.

Python raises KeyboardInterrupt wherever it happens to be, also inside a call of rclpy's pybind11 layer, where it comes out as
"RuntimeError: Unable to convert call argument". Programs that spin by themselves, a little at a time, use these two; the nodes
of a stack are run by runtime.py.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import rclpy
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

ENDING = (signal.SIGINT, signal.SIGTERM)


class _Interrupt:
    """A handler of signals: KeyboardInterrupt, but not within a turn; there it is only noted."""

    def __init__(self) -> None:
        self.within_turn, self.noted = False, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.within_turn:
            raise KeyboardInterrupt
        self.noted = True


_interrupt = _Interrupt()


@contextmanager
def open_ros(context: Context | None = None, signals: SignalHandlerOptions = SignalHandlerOptions.ALL) -> Iterator[None]:
    """Start rclpy, and end it after the block. With signals NO, nodes can still be talked to after a Ctrl-C."""
    before = {number: signal.getsignal(number) for number in ENDING}
    if _is_main():
        for number in ENDING:
            signal.signal(number, _interrupt)  # before rclpy's own, which calls it in turn
    try:
        rclpy.init(args=[], context=context, signal_handler_options=signals)
        yield
    finally:
        rclpy.try_shutdown(context=context)
        if _is_main():
            for number, handler in before.items():
                signal.signal(number, handler)


def spin_once(spun: Node | Executor, timeout_s: float) -> None:
    """One turn. Raises KeyboardInterrupt after it when the program was asked to end meanwhile, by Ctrl-C or by SIGTERM."""
    spin = spun.spin_once if isinstance(spun, Executor) else partial(rclpy.spin_once, spun)
    if not _is_main():
        spin(timeout_sec=timeout_s)
        return
    _interrupt.within_turn = True
    try:
        spin(timeout_sec=timeout_s)
    except ExternalShutdownException:
        _interrupt.noted = True
    except Exception:
        if spun.context.ok():
            raise  # otherwise rclpy's handler has shut ROS down in mid-turn, and what it refuses then is no fault
        _interrupt.noted = True
    finally:
        _interrupt.within_turn = False
    if _interrupt.noted:
        _interrupt.noted = False
        raise KeyboardInterrupt


def _is_main() -> bool:
    """Whether this is the main thread, the only one that may set handlers, and the one that they run in."""
    return threading.current_thread() is threading.main_thread()
