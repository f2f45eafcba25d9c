"""Whether this machine can play in LIBERO; for the tests of the simulator and of the nodes."""

import os
from pathlib import Path

import pytest

from worldagen.errors import SimulatorError
from worldagen_sim.libero import find_python
from worldagen_sim.libero.installation import ASSETS

STOVE = "KITCHEN_SCENE3_turn_on_the_stove_and_put_the_moka_pot_on_it"
POTS = "KITCHEN_SCENE8_put_both_moka_pots_on_the_stove"
BOWL = "pick_up_the_black_bowl_between_the_plate_and_the_ramekin_and_place_it_on_the_plate"
COOKIES = "pick_up_the_black_bowl_on_the_cookie_box_and_place_it_on_the_plate"
TASKS = (("libero_10", STOVE), ("libero_10", POTS), ("libero_spatial", BOWL), ("libero_spatial", COOKIES))


def require_libero() -> None:
    """Skip the test where LIBERO or its assets are missing."""
    try:
        find_python()
    except SimulatorError as error:
        pytest.skip(str(error))
    if not Path(os.environ.get(ASSETS) or "/nowhere").is_dir():
        pytest.skip(f"no assets of LIBERO: name their folder in {ASSETS}")
