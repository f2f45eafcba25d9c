"""`worldagen view --web` in a real browser: the page shows the pictures of a bag."""

import socket
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rerun", reason="needs rerun-sdk: pip install 'worldagen[view]'")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from demonstration_making import demonstrate, write_demonstration
from view_picture import find_chromium, show

# Nothing in the viewer itself has these colours.
STATIC, WRIST = np.array([255, 0, 200], np.uint8), np.array([0, 255, 40], np.uint8)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def share_of(colour: np.ndarray, page: np.ndarray) -> float:
    """Share of the page's pixels that have a colour, about."""
    return float((np.abs(page.astype(int) - colour).max(axis=2) < 12).mean())


@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: apt install chromium")
@pytest.mark.timeout(600)  # everything is drawn in software, on a machine that may be busy
def test_the_page_shows_both_cameras_of_a_bag(tmp_path):
    shown = demonstrate(steps=3)
    static = np.broadcast_to(STATIC, shown.static.shape)
    wrist = np.broadcast_to(WRIST, shown.wrist.shape)
    write_demonstration(tmp_path / "bag", replace(shown, static=static, wrist=wrist))

    def both(page: np.ndarray, _: np.ndarray) -> bool:
        return min(share_of(STATIC, page), share_of(WRIST, page)) > 0.02

    page = show(tmp_path / "bag", (800, 500), 540.0, (free_port(), free_port()), both)
    assert page.shape == (500, 800, 3)
    # The static camera stands left of the wrist camera, both on the right and above the plots.
    for colour, left, right in ((STATIC, 400, 600), (WRIST, 600, 800)):
        rows, columns = np.nonzero(np.abs(page.astype(int) - colour).max(axis=2) < 12)
        assert left - 20 <= columns.min() and columns.max() <= right + 20 and rows.max() < 330
    assert len(np.unique(page.reshape(-1, 3), axis=0)) > 200  # and something is drawn besides
