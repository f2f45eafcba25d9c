"""The environment is made anew when its interpreter is gone or is another one, and kept otherwise."""

import os
from dataclasses import replace

import pytest
from setup_steps.environment import MakeEnvironment
from setup_steps.progress import Progress
from setup_steps.step import settle


@pytest.fixture
def made(layout):
    settle(MakeEnvironment(layout, os.environ), Progress(1))
    return layout


def test_a_made_environment_is_kept(made):
    marker = made.site_packages / "kept.txt"
    marker.touch()
    assert settle(MakeEnvironment(made, os.environ), Progress(1)) is False
    assert marker.exists()


def spoil_interpreter(layout):
    layout.python.unlink()
    layout.python.symlink_to("/nowhere/python")


def spoil_version(layout):
    config = layout.venv / "pyvenv.cfg"
    config.write_text(config.read_text().replace("version = 3.", "version = 2."))


def spoil_half_made(layout):
    (layout.venv / "bin" / "activate").unlink()


@pytest.mark.parametrize("spoil", [spoil_interpreter, spoil_version, spoil_half_made])
def test_a_spoilt_environment_is_made_anew_without_what_was_in_it(made, spoil):
    remains = made.site_packages / "torch"
    remains.mkdir()
    spoil(made)
    assert settle(MakeEnvironment(made, os.environ), Progress(1)) is True
    assert not remains.exists()
    assert MakeEnvironment(made, os.environ).faults({}) == []


def test_a_distribution_needs_an_environment_that_sees_the_system_packages(made):
    with_jazzy = replace(made, distribution="jazzy")
    assert settle(MakeEnvironment(with_jazzy, os.environ), Progress(1)) is True
    assert "include-system-site-packages = true" in (made.venv / "pyvenv.cfg").read_text()
