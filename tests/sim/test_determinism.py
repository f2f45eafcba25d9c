"""The same seed and the same actions give the same bits, in another process too."""

import pytest

PROGRAM = """
import hashlib
import numpy as np
from worldagen_sim.playtable import make_playtable

environment = make_playtable(renderer="{renderer}")
random, digest = np.random.default_rng(0), hashlib.sha256()
for scene in ("A", "D"):
    state = environment.reset("lift_red_block_table", scene, 11)
    for step in range(40):
        if step % 10 == 0:
            for picture in environment.render().values():
                digest.update(picture.tobytes())
        state = environment.step(random.uniform(-0.03, 0.03, size=7))
        digest.update(state.joint_positions.tobytes() + np.array(list(state.values.values())).tobytes())
environment.close()
print(digest.hexdigest())
"""


def test_two_processes_see_the_same_bits(run_python):
    program = PROGRAM.format(renderer="raycast")
    assert run_python(program)[0] == run_python(program)[0]


@pytest.mark.gl
def test_two_processes_see_the_same_bits_by_opengl(run_python, gl_platform):
    program = PROGRAM.format(renderer=gl_platform)
    assert run_python(program)[0] == run_python(program)[0]
