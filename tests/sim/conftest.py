"""One playtable for the whole run: building MuJoCo models is what costs. Each test begins with its own reset."""

import os
import subprocess
import sys

import pytest

from worldagen_sim.playtable import make_playtable
from worldagen_sim.playtable.rendering import GL_PLATFORMS, choose_renderer


@pytest.fixture(scope="session")
def playtable():
    """Draws by ray casting, which works everywhere."""
    environment = make_playtable(renderer="raycast")
    yield environment
    environment.close()


@pytest.fixture(scope="session")
def gl_platform():
    """The OpenGL platform of this machine; skips the test where there is none."""
    faults = []
    for platform in GL_PLATFORMS:
        try:
            choose_renderer(platform)
            return platform
        except Exception as error:
            faults.append(str(error))
    pytest.skip("; ".join(faults))


@pytest.fixture
def run_python():
    """Run a program in a fresh interpreter that finds our packages: (standard output, standard error)."""

    def run(program: str, **environment: str) -> tuple[str, str]:
        everything = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=everything, timeout=110)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run
