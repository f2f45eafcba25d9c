"""The package manifests say what is so: one version and licence everywhere, and every ROS package that is imported."""

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from checkout import ROOT

SRC = ROOT / "ros2_ws" / "src"
MANIFESTS = [ROOT / "package.xml", SRC / "worldagen_msgs" / "package.xml", SRC / "worldagen_ros" / "package.xml"]
# Import name -> the key that rosdep resolves; packages of ROS itself have the same name in both places.
ROSDEP_KEYS = {
    "numpy": "python3-numpy",
    "PIL": "python3-pil",
    "yaml": "python3-yaml",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
}
FROM_PIP = {"av", "rerun", "torch"}  # no rosdep key, or one that is too old; pinned in constraints.txt
OPTIONAL = {"cv_bridge", "ray"}  # used where they are installed
OURS = {"worldagen_sim": "worldagen"}  # two Python packages in one ROS package


def manifest(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path).getroot()


def dependencies(path: Path) -> set[str]:
    return {(tag.text or "").strip() for tag in manifest(path) if tag.tag.endswith("depend")}


def imported(folder: Path) -> set[str]:
    """Top-level names that the modules of a folder import, the standard library and the folder itself left out."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {folder.name}


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_each_package_has_the_version_and_licence_of_the_distribution(path):
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'(?m)^version = "(.+)"$', pyproject)
    assert version is not None
    assert manifest(path).findtext("version") == version[1]
    assert manifest(path).findtext("license") == "Apache-2.0"


def test_the_nodes_declare_every_package_that_they_import():
    needed = imported(SRC / "worldagen_ros" / "worldagen_ros") | imported(ROOT / "launch")
    keys = {OURS.get(name) or ROSDEP_KEYS.get(name, name) for name in needed - FROM_PIP - OPTIONAL - {"worldagen_ros"}}
    assert keys <= dependencies(SRC / "worldagen_ros" / "package.xml")


def test_the_messages_declare_every_package_whose_types_they_hold():
    folder = SRC / "worldagen_msgs"
    definitions = (path for kind in ("msg", "srv", "action") for path in folder.glob(f"{kind}/*.{kind}"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in definitions)
    held = set(re.findall(r"(?m)^([a-z][a-z0-9_]*)/[A-Z]", text)) - {"worldagen_msgs"}
    assert held
    assert held <= dependencies(folder / "package.xml")


def test_every_console_script_is_a_module():
    setup = (SRC / "worldagen_ros" / "setup.py").read_text(encoding="utf-8")
    scripts = re.findall(r'"(\w+) = worldagen_ros\.(\w+):main"', setup)
    assert scripts
    for name, module in scripts:
        assert name == module
        assert (SRC / "worldagen_ros" / "worldagen_ros" / f"{module}.py").is_file()
