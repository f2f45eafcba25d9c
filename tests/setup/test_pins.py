"""Everything that gets installed is pinned, on every supported Python, and no file names a registry."""

import os
import re
from importlib import metadata

import pytest
from checkout import ROOT
from packaging.requirements import Requirement
from setup_steps.layout import read_layout
from setup_steps.packages import extras, packaging_part
from setup_steps.records import normalise, read_pins

CONSTRAINTS = [ROOT / "constraints.txt", ROOT / "requirements" / "constraints-distribution.txt"]
SIMULATORS = [ROOT / "requirements" / f"{name}.txt" for name in ("libero", "calvin")]
PIN = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][^\s;]*( ; .+)?")


@pytest.mark.parametrize("path", CONSTRAINTS + SIMULATORS, ids=lambda path: path.name)
def test_each_line_is_one_name_and_one_version(path):
    odd = [line for line in path.read_text().splitlines() if not PIN.fullmatch(line)]
    assert odd == []


def test_whatever_our_distribution_needs_is_pinned():
    layout = read_layout(ROOT, os.environ)
    pins = read_pins(layout.constraints)
    wanted, seen = [("worldagen", frozenset(extras(layout)))], set()
    while wanted:
        name, chosen = wanted.pop()
        if (name, chosen) in seen:
            continue
        seen.add((name, chosen))
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # not for this Python or platform
        for requirement in map(Requirement, requirements):
            environments = [{"extra": extra} for extra in chosen] or [{"extra": ""}]
            if not requirement.marker or any(map(requirement.marker.evaluate, environments)):
                wanted.append((normalise(requirement.name), frozenset(requirement.extras)))
    missing = {name for name, _ in seen} - set(pins) - {"worldagen"}
    assert missing == set()


def test_beside_a_distribution_numpy_stays_below_2():
    assert read_pins(CONSTRAINTS[1])["numpy"].startswith("1.26")


def test_both_files_agree_on_the_network_libraries():
    wheels, distribution = map(read_pins, CONSTRAINTS)
    for name in ("torch", "torchvision", "transformers", "timm", "open-clip-torch", "peft", "mujoco", "setuptools", "pip"):
        assert wheels[name] == distribution[name]


def test_tool_settings_do_not_call_for_a_new_installation():
    text = '[project]\nname = "a"\n[tool.ruff]\nline-length = {}\n[tool.setuptools.packages.find]\nwhere = ["model"]\n'
    assert packaging_part(text.format(100)) == packaging_part(text.format(128))
    assert "where" in packaging_part(text)
