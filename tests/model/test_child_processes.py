"""A process that gives way does so beside other sessions too."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os
from pathlib import Path
from worldagen.child_processes import give_way

give_way()
print(os.getpriority(os.PRIO_PROCESS, 0), Path("/proc/self/autogroup").read_text().split()[-1])
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="needs a Linux that groups processes by their session")
def test_who_gives_way_is_the_last_in_its_session_and_its_session_is_behind_the_others():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, start_new_session=True)
    assert done.stdout.split() == ["19", "5"], done.stderr
