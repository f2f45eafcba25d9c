"""Two set-ups in one checkout do not meet, and killing one leaves nothing behind that goes on working."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from checkout import ROOT

HOLD = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from setup_steps.lock import exclusive
with exclusive(Path(sys.argv[2]), on_wait=lambda: print("waiting", flush=True)):
    print("working", flush=True)
    sys.stdin.readline()
"""
PARENT = """
import os, sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from setup_steps.command import run
run(["bash", "-c", "echo $$; exec sleep 60"], Path(sys.argv[2]), os.environ, on_line=lambda line: print(line, flush=True))
"""


def start(program: str, argument: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", program, str(ROOT / "scripts"), str(argument)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_second_waits_and_says_so(tmp_path):
    with start(HOLD, tmp_path) as first:
        assert first.stdout.readline() == "working\n"
        with start(HOLD, tmp_path) as second:
            assert second.stdout.readline() == "waiting\n"
            first.communicate("done\n", timeout=20)
            assert second.stdout.readline() == "working\n"
            second.communicate("done\n", timeout=20)


def test_a_command_dies_with_a_setup_that_is_killed(tmp_path):
    with start(PARENT, tmp_path / "log") as parent:
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait(20)
    deadline = time.monotonic() + 20
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(child)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_the_log_keeps_what_the_command_said(tmp_path):
    from setup_steps.command import run

    lines = []
    status = run(["bash", "-c", "echo one; echo two >&2; exit 3"], tmp_path / "log", os.environ, on_line=lines.append)
    assert status == 3
    assert lines == ["one", "two"]
    assert (tmp_path / "log").read_text().endswith("one\ntwo\n")
