"""What the workers of a test do; a module of its own, so that they need not import what the tests do."""

import os
import time

from worldagen.errors import UnknownName


def make_counter():
    return count


def count(number: int) -> int:
    """Ten times as much. 3 is refused, 0 kills the worker; more than 3 takes its time, as an episode does."""
    if number == 0:
        os._exit(1)
    if number == 3:
        raise UnknownName("count", "3 is too many", ("1", "2"))
    if number > 3:
        time.sleep(0.05)
    return 10 * number
