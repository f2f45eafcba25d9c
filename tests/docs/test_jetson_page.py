"""The tables of docs/jetson.md are those of the recorded counts."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_its_tables_are_those_of_the_recorded_result():
    result = ROOT / "benchmarks/results/operations.json"
    command = [sys.executable, str(ROOT / "benchmarks/operations.py"), "--show", str(result)]
    tables = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split("\n\n")
    page = (ROOT / "docs/jetson.md").read_text("utf-8")
    assert re.findall(r"<!-- table: \w+ -->\n(.*?)\n<!-- end of table -->", page, re.DOTALL) == tables
