"""scripts/setup --jetson, with made root folders and made answers of dpkg: nobody has run it on a Jetson yet."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from checkout import BASE_PYTHON, ROOT
from setup_steps import packages
from setup_steps.disk import ENVIRONMENT_GB, environment_gb
from setup_steps.environment import MakeEnvironment
from setup_steps.jetson import (
    PROBE,
    CheckJetson,
    Jetson,
    as_jetson,
    ask_dpkg,
    held,
    is_older,
    least_versions,
    read_jetson,
    read_release,
    refusal,
    source,
)
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.records import read_pins
from setup_steps.run import steps_of, wanted_simulators
from setup_steps.simulators import SIMULATORS, InstallSimulator
from setup_steps.step import settle

GOOD = Jetson()
TEGRA = "# R{} (release), REVISION: {}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"


@pytest.fixture
def layout(layout):
    """A checkout with what the check reads of it, as after sourcing Humble."""
    (layout.root / "requirements").mkdir()
    (layout.root / "pyproject.toml").write_text('dependencies = [\n  "torch>=2.6",\n  "torchvision>=0.21",\n]\n')
    layout.distribution_constraints.write_text(
        "pip==25.3\ntorch==2.14.1\ntriton==3.8.0 ; sys_platform == 'linux'\ntimm==1.0.31\n"
    )
    return replace(layout, distribution="humble", jetson=True, python_version=(3, 10))


@pytest.fixture
def system(tmp_path):
    """The root folder of a Jetson with JetPack 6.2 and Humble."""
    root = tmp_path / "system"
    (root / "etc").mkdir(parents=True)
    (root / "etc/nv_tegra_release").write_text(TEGRA.format(36, "4.3"))
    humble = root / "opt/ros/humble"
    humble.mkdir(parents=True)
    (humble / "setup.bash").write_text("echo hello\nexport ROS_DISTRO=humble AMENT_PREFIX_PATH=/opt/ros/humble\n")
    return root


def test_a_complete_jetson_is_accepted(layout):
    assert refusal(GOOD, layout) is None


@pytest.mark.parametrize(
    ("change", "found", "remedy"),
    [
        ({"cpu": "x86_64", "release": ""}, "x86_64 machine without a readable /etc/nv_tegra_release", "leave --jetson out"),
        ({"release": ""}, "aarch64 machine without a readable", "leave --jetson out"),
        ({"cpu": "x86_64"}, "an x86_64 machine", "leave --jetson out"),
        ({"release": "35.4.1"}, "R35.4.1, expected R36 (JetPack 6)", "flash JetPack 6"),
        ({"release": "38.2.0"}, "R38.2.0, expected R36", "docs/jetson.md"),
        ({"python": (3, 12)}, "Python 3.12 of /usr", "WORLDAGEN_PYTHON=/usr/bin/python3"),
        ({"python_prefix": "/home/me/conda"}, "Python 3.10 of /home/me/conda", "WORLDAGEN_PYTHON=/usr/bin/python3"),
        ({"versions": {"torch": "", "torchvision": ""}}, "torch is missing", "sudo -H python3 -m pip install"),
        ({"versions": {"torch": "2.8.0", "torchvision": ""}}, "torchvision is missing", "0.21 or newer"),
        (
            {"versions": {"torch": "", "torchvision": "0.23.0"}, "at_home": {"torch": "2.8.0"}},
            "lies in the home folder",
            "for all",
        ),
        (
            {"versions": {"torch": "2.5.0a0+872d972e41.nv24.08", "torchvision": "0.20.0"}},
            "2.5.0a0+872d972e41",
            "torch 2.6 or newer",
        ),
        ({"versions": {"torch": "2.8.0", "torchvision": "0.20.0a0+afc54f7"}}, "torchvision is 0.20.0a0", "torchvision 0.21 or"),
        ({"cuda": ""}, "built for the CPU only", "docs/jetson.md"),
        ({"cuda": "13.0"}, "built for CUDA 13.0, JetPack 6 has CUDA 12", "docs/jetson.md"),
        ({"tensorrt": ""}, "TensorRT's Python package is missing", "sudo apt-get install python3-libnvinfer"),
        ({"importable": False}, "does not find tensorrt", "--reinstall python3-libnvinfer"),
    ],
)
def test_what_is_missing_is_told_with_what_was_found_and_what_to_do(layout, change, found, remedy):
    line = refusal(replace(GOOD, **change), layout)
    assert line is not None and "\n" not in line
    assert found in line and remedy in line


def test_another_distribution_and_none_are_told_apart(layout):
    assert "ROS_DISTRO is jazzy" in str(refusal(GOOD, replace(layout, distribution="jazzy")))
    nothing = refusal(replace(GOOD, ros=()), replace(layout, distribution=""))
    assert "/opt/ros has no distribution" in str(nothing) and "apt-get install ros-humble-ros-base" in str(nothing)
    assert "/opt/ros has iron" in str(refusal(replace(GOOD, ros=("iron",)), replace(layout, distribution="")))


@pytest.mark.parametrize(
    ("text", "release"),
    [(TEGRA.format(36, "4.3"), "36.4.3"), (TEGRA.format(35, "4.1"), "35.4.1"), ("Ubuntu", ""), ("", "")],
)
def test_the_release_of_jetson_linux_is_read(system, text, release):
    (system / "etc/nv_tegra_release").write_text(text)
    assert read_release(system) == release


@pytest.mark.parametrize(
    ("version", "older"),
    [
        ("2.5.1", True),
        ("2.6.0rc1", True),  # one that NVIDIA's lab has given out
        ("2.6.0a0+nv24.12", True),
        ("2.6", False),
        ("2.6.0", False),
        ("2.6.0+cu126", False),
        ("2.10.0", False),
        ("3.0.0a0", False),
        ("unknown", True),
    ],
)
def test_versions_are_compared_as_pip_does(version, older):
    from packaging.specifiers import SpecifierSet

    assert is_older(version, "2.6") is older
    if version != "unknown":
        assert SpecifierSet(">=2.6").contains(version, prereleases=True) is not older


def test_the_least_versions_are_those_of_the_package(layout):
    assert set(least_versions(replace(layout, root=ROOT))) == {"torch", "torchvision"}


def test_the_constraints_hold_pip_to_the_systems_torch_and_to_nothing_that_belongs_to_another():
    original = (ROOT / "requirements/constraints-distribution.txt").read_text().splitlines()
    written = held("\n".join(original), GOOD.versions).splitlines()
    assert [line for line in written if line.startswith("torch")] == ["torch==2.8.0", "torchvision==0.23.0"]
    gone = {line for line in original if line not in written}
    assert {line.partition("==")[0] for line in gone} >= {"torch", "torchvision", "triton", "nvidia-cublas", "cuda-toolkit"}
    assert all(line.startswith(("torch", "triton", "nvidia-", "cuda-")) for line in gone)


def test_pip_leaves_what_it_is_held_to_alone(tmp_path):
    """The rule that all of it stands on, asked of pip itself, with a package that the system has and no index."""
    metadata = tmp_path / "system/armtorch-2.8.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: armtorch\nVersion: 2.8.0\n")
    environ = {**os.environ, "PYTHONPATH": str(metadata.parent), "PIP_CONFIG_FILE": os.devnull}
    environ.pop("PIP_FIND_LINKS", None)
    for constraints, works in (("armtorch==2.14.1\n", False), (held("armtorch==2.14.1\n", {"armtorch": "2.8.0"}), True)):
        (tmp_path / "constraints.txt").write_text(constraints)
        asked = ["install", "--no-index", "--dry-run", "--constraint", str(tmp_path / "constraints.txt"), "armtorch>=2.6"]
        run = subprocess.run([sys.executable, "-m", "pip", *asked], env=environ, capture_output=True, text=True, timeout=60)
        assert (run.returncode == 0) is works, run.stdout + run.stderr


def test_the_check_comes_first_and_only_on_a_jetson(layout, monkeypatch):
    monkeypatch.setattr("setup_steps.run.CheckJetson", lambda layout: "the check")
    assert steps_of(layout, {}, 0, [])[0]() == "the check"
    assert len(steps_of(layout, {}, 0, [])) == 7
    plain = steps_of(replace(layout, jetson=False), {}, 0, ["libero"])
    assert len(plain) == 7 and plain[0]().name == "machine"


def test_a_refused_machine_leaves_nothing_behind(layout):
    with pytest.raises(Problem, match="torch is missing"):
        settle(CheckJetson(layout, lambda _: replace(GOOD, versions={"torch": "", "torchvision": ""})), Progress(7))
    assert not layout.venv.exists()


def test_a_folder_of_somebody_else_is_never_taken_for_the_environment(layout):
    layout.venv.mkdir()
    (layout.venv / "thesis.tex").touch()
    with pytest.raises(Problem, match="something that is not a Python environment"):
        settle(CheckJetson(layout, lambda _: GOOD), Progress(7))
    assert [path.name for path in layout.venv.iterdir()] == ["thesis.tex"]


def test_the_second_run_has_nothing_to_do_until_the_systems_torch_changes(layout):
    assert settle(CheckJetson(layout, lambda _: GOOD), Progress(7)) is True
    assert read_pins(layout.constraints)["torch"] == "2.8.0"
    assert settle(CheckJetson(layout, lambda _: GOOD), Progress(7)) is False
    before = packages.InstallPackages(layout, {}).fingerprint()
    newer = replace(GOOD, versions={"torch": "2.9.0", "torchvision": "0.24.0"})
    assert settle(CheckJetson(layout, lambda _: newer), Progress(7)) is True
    assert packages.InstallPackages(layout, {}).fingerprint() != before


def test_the_constraints_survive_the_making_of_the_environment_that_sees_the_system(layout):
    layout = replace(layout, python_version=sys.version_info[:2])
    settle(CheckJetson(layout, lambda _: replace(GOOD)), Progress(7))
    settle(MakeEnvironment(layout, os.environ), Progress(7))
    assert read_pins(layout.constraints)["torch"] == "2.8.0"
    assert "include-system-site-packages = true" in (layout.venv / "pyvenv.cfg").read_text()


def test_a_jetson_gets_no_tools_for_development_and_needs_less_disk(layout):
    assert "dev" not in packages.extras(layout) and "dev" in packages.extras(replace(layout, jetson=False))
    assert environment_gb(layout) < environment_gb(replace(layout, jetson=False)) == ENVIRONMENT_GB


def test_a_simulators_environment_knows_nothing_of_it(layout):
    theirs = InstallSimulator(layout, {}, SIMULATORS["libero"]).layout
    assert theirs.constraints == layout.root / "constraints.txt"


@pytest.mark.parametrize(
    ("asked", "cpu", "release", "jetson"),
    [
        (False, "aarch64", "36", True),  # found by itself
        (False, "aarch64", "38", False),  # the ordinary way may do there
        (False, "x86_64", "36", False),
        (True, "aarch64", "38", True),  # to be refused with a reason
        (True, "x86_64", "36", True),
    ],
)
def test_a_jetson_is_found_by_itself_where_the_ordinary_way_would_bring_the_wrong_torch(
    layout, system, asked, cpu, release, jetson
):
    (system / "etc/nv_tegra_release").write_text(TEGRA.format(release, "2.0"))
    plain = replace(layout, jetson=False)
    assert as_jetson(plain, asked, os.environ, system, cpu)[0].jetson is jetson


def test_humble_is_sourced_where_nobody_has_done_it(layout, system):
    found, variables = as_jetson(replace(layout, distribution="", jetson=False), True, os.environ, system)
    assert found.distribution == variables["ROS_DISTRO"] == "humble"
    assert variables["AMENT_PREFIX_PATH"] == "/opt/ros/humble" and variables["PATH"] == os.environ["PATH"]
    chosen, variables = as_jetson(replace(layout, distribution="jazzy"), True, os.environ, system)
    assert (chosen.distribution, variables) == ("jazzy", {})
    (system / "opt/ros/humble/setup.bash").unlink()
    assert as_jetson(replace(layout, distribution=""), True, os.environ, system)[0].distribution == ""


def test_a_setup_file_that_fails_is_told(system):
    setup = system / "opt/ros/humble/setup.bash"
    setup.write_text("return 3\n")
    with pytest.raises(Problem, match=r"setup.bash cannot be sourced; run: \. "):
        source(setup, os.environ)


def test_it_is_an_argument_beside_the_simulators():
    assert wanted_simulators(["--jetson", "--with", "libero"]) == ["libero"]
    with pytest.raises(Problem, match="--jetson, --with libero"):
        wanted_simulators(["--orin"])


def test_the_machine_is_read_from_its_files_its_python_and_dpkg(layout, system, tmp_path):
    asked = []
    there = replace(layout, base_python=str(python_with(tmp_path, "2.8.0", "12.6", tensorrt=True)))
    jetson = read_jetson(there, system, dpkg=lambda package: asked.append(package) or "10.3.0.30-1+cuda12.5")
    assert (jetson.release, jetson.ros, jetson.python) == ("36.4.3", ("humble",), (3, 10))
    assert jetson.versions == {"torch": "2.8.0", "torchvision": ""} and jetson.cuda == "12.6" and jetson.importable
    assert asked == ["python3-libnvinfer"] and jetson.tensorrt == "10.3.0.30-1+cuda12.5"


def test_a_torch_in_the_home_folder_is_not_the_systems(tmp_path):
    python = python_with(tmp_path, "", "")
    home = tmp_path / "home/lib/python{}.{}/site-packages".format(*sys.version_info)
    write_package(home, "torch", "2.8.0", "cuda: Optional[str] = '12.6'\n")
    environ = {"PATH": os.defpath, "PYTHONUSERBASE": str(tmp_path / "home"), "PYTHONNOUSERSITE": "1"}
    run = subprocess.run([python, "-c", PROBE, "torch"], env=environ, capture_output=True, text=True, check=True)
    told = json.loads(run.stdout)
    assert told["versions"] == {"torch": ""} and told["at_home"] == {"torch": "2.8.0"} and told["cuda"] == ""


def test_a_torch_for_the_cpu_is_told_from_one_for_cuda(layout, system, tmp_path):
    cpu = replace(layout, base_python=str(python_with(tmp_path, "2.8.0", "")))
    assert read_jetson(cpu, system, dpkg=lambda _: "").cuda == ""


def test_a_python_that_does_not_answer_is_a_problem(layout, system, tmp_path):
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho no module named encodings >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(Problem, match="no module named encodings"):
        read_jetson(replace(layout, base_python=str(broken)), system)


def test_dpkg_is_asked_for_what_is_installed_only(tmp_path, monkeypatch):
    stand_in = tmp_path / "dpkg-query"
    stand_in.write_text('#!/bin/sh\n[ "$3" = gone ] && echo "config-files 8.6.2" || echo "installed 10.3.0"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert (ask_dpkg("there"), ask_dpkg("gone")) == ("10.3.0", "")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert ask_dpkg("there") == ""


def test_here_it_refuses_in_one_line_and_makes_nothing(tmp_path, copy_checkout, run_setup):
    checkout = copy_checkout(tmp_path)
    run = subprocess.run(
        [checkout / "scripts/setup", "--jetson"],
        env={"PATH": os.defpath, "HOME": str(tmp_path), "WORLDAGEN_PYTHON": BASE_PYTHON},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
    assert "--jetson is for a Jetson Orin with JetPack 6" in run.stderr
    assert not (checkout / ".venv").exists()


def python_with(folder, torch, cuda, tensorrt=False):
    """A Python that sees packages of a folder as the system's."""
    packages = folder / "dist-packages"
    if torch:
        write_package(packages, "torch", torch, f"cuda: Optional[str] = {cuda or None!r}\nhip = '6.0'\n")
    if tensorrt:
        (packages / "tensorrt").mkdir(parents=True)
        (packages / "tensorrt/__init__.py").touch()
    python = folder / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{BASE_PYTHON}" "$@"\n')
    python.chmod(0o755)
    return python


def write_package(folder, name, version, told):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise SystemExit('importing it takes too long')\n")
    (folder / name / "version.py").write_text(told)
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
