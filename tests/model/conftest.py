"""The machine is shared: model tests compute with one thread."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _one_thread():
    if "torch" in sys.modules:  # tests without a network need not wait for it
        sys.modules["torch"].set_num_threads(1)
