"""`worldagen scenes` draws what it says."""

import numpy as np
import pytest
from PIL import Image

from worldagen.cli import main


def test_a_page_has_a_row_for_every_scene_and_a_column_for_every_seed(tmp_path):
    out = tmp_path / "page.png"
    command = ["scenes", "--scenes", "A,D+light:1", "--episodes", "3", "--renderer", "raycast", "--out", str(out)]
    assert main(command) == 0
    page = np.array(Image.open(out))
    assert page.shape == (2 * 306, 30 + 3 * 306, 3)
    pictures = [page[row : row + 300, left : left + 300] for row in (0, 306) for left in (30, 336, 642)]
    assert all(picture.std() > 20 for picture in pictures)  # none is blank
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[3])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--scenes", "E"], "unknown playtable scene 'E'"), (["--episodes", "0"], "0 episodes"), (["--task", "fly"], "'fly'")],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, capsys, arguments, words):
    out = tmp_path / "page.png"
    assert main(["scenes", "--renderer", "raycast", "--out", str(out), *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not out.exists()
