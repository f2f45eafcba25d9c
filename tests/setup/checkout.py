"""Where the checkout is that these tests are about."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)  # what environments are made from, this one included
