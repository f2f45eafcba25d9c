"""Ctrl-C ends a program of ours between two turns of ROS, never inside one."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from worldagen_ros.spinning import open_ros, spin_once

how, number = sys.argv[1], getattr(signal, sys.argv[2])
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts us may ignore it

def asked():
    os.kill(os.getpid(), number)  # as a signal that comes in the middle of a message
    print("the callback goes on", flush=True)

with open_ros(signals=getattr(SignalHandlerOptions, how)):
    node = Node("interrupted", enable_rosout=False)
    timer = node.create_timer(0.01, asked)
    try:
        while True:
            spin_once(node, 0.2)
    except KeyboardInterrupt:
        print("asked to end", flush=True)
    assert how == "ALL" or node.context.ok(), "nobody can be told that it ends"
    timer.cancel()
    node.destroy_node()
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("outside a turn at once")
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("how", ["ALL", "NO"])
def test_an_interrupt_waits_for_the_end_of_a_turn(environment, how, number):
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, number], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert set(lines[:-2]) == {"the callback goes on"}, ran.stdout
    assert lines[-2:] == ["asked to end", "outside a turn at once"]
