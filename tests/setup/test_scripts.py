"""The shell scripts are clean, and continuous integration runs what a developer runs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT
from setup_steps.layout import child_environment

SCRIPTS = [ROOT / "scripts" / name for name in ("setup", "activate", "demo", "test", "lock")] + [ROOT / ".ci" / "run"]


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck here")
def test_shellcheck_has_nothing_to_say():
    run = subprocess.run(["shellcheck", *SCRIPTS], capture_output=True, text=True, check=False)
    assert run.stdout == ""


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.name != "activate"], ids=lambda s: s.name)
def test_scripts_can_be_run_and_activate_cannot(script):
    assert os.access(script, os.X_OK)
    assert not os.access(ROOT / "scripts" / "activate", os.X_OK) or os.geteuid() == 0


def test_continuous_integration_calls_scripts_test_and_nothing_else(tmp_path):
    """With the one variable that says where LIBERO's assets are, when they stand beside the checkout."""
    for folder in ("checkout/.ci", "checkout/scripts", "shared/libero-assets/assets"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "checkout/.ci/run")
    stand_in = tmp_path / "checkout/scripts/test"
    stand_in.write_text('#!/bin/sh\necho "$0 with $# arguments, assets: $WORLDAGEN_LIBERO_ASSETS"\n')
    stand_in.chmod(0o755)
    for assets in (f"{tmp_path}/checkout/../shared/libero-assets/assets", ""):
        run = subprocess.run([tmp_path / "checkout/.ci/run"], env={"PATH": os.defpath}, capture_output=True, text=True)
        assert run.stdout == f"{stand_in} with 0 arguments, assets: {assets}\n" and run.returncode == 0
        shutil.rmtree(tmp_path / "shared")
        (tmp_path / "shared").mkdir()


def test_a_setup_started_inside_the_environment_forgets_it(layout):
    inside = {
        "PATH": f"{layout.venv}/bin:/usr/bin",
        "PYTHONPATH": f"{layout.workspace}/install/worldagen_msgs/lib/python",
        "LD_LIBRARY_PATH": f"{layout.venv}/lib:/cuda",
        "AMENT_PREFIX_PATH": f"{layout.workspace}/install/worldagen_msgs:{layout.venv}:/opt/ros/jazzy",
        "VIRTUAL_ENV": str(layout.venv),
        "PIP_TARGET": "/elsewhere",
    }
    child = child_environment(layout, inside)
    assert child["PATH"] == "/usr/bin"
    assert child["LD_LIBRARY_PATH"] == "/cuda"
    assert child["AMENT_PREFIX_PATH"] == "/opt/ros/jazzy"
    assert not {"PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET"} & set(child)


def test_the_setup_runs_before_anything_is_installed():
    """Only the standard library, as far as Python 3.10 has it."""
    allowed = {*__import__("sys").stdlib_module_names, "setup_steps"} - {"tomllib"}
    for path in (ROOT / "scripts" / "setup_steps").glob("*.py"):
        if path.name != "smoke_program.py":
            assert imported(path) <= allowed, path.name


def imported(path: Path) -> set[str]:
    import ast

    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names
