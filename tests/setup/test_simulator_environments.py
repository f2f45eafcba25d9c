"""scripts/setup --with NAME: an environment of its own for a simulator, by the same rule as every other step."""

import os
from dataclasses import replace

import pytest
from checkout import ROOT
from setup_steps import simulators
from setup_steps.problem import Problem
from setup_steps.progress import Progress
from setup_steps.records import read_pins
from setup_steps.run import wanted_simulators
from setup_steps.simulators import SIMULATORS, InstallSimulator, folder_of
from setup_steps.step import settle


@pytest.fixture
def layout(layout):
    """With the lists of versions that it installs from."""
    (layout.root / "requirements").mkdir()
    for name in SIMULATORS:
        (layout.root / "requirements" / f"{name}.txt").write_text("arm==1.0\nleg-kit==2.0\n")
    (layout.root / "constraints.txt").write_text("pip==25.3\nsetuptools==79.0.1\n")
    return layout


class WithoutPip(InstallSimulator):
    """Writes what pip would; the commands it was asked for are in `asked`."""

    def __init__(self, layout, name="libero", fails=()):
        plain = replace(SIMULATORS[name], imports=("os", *fails))
        super().__init__(layout, os.environ, plain)
        self.asked = []

    def _run(self, command, progress):
        self.asked.append(command)
        for name, version in read_pins(self.versions).items() if "--requirement" in command else ():
            folder = self.layout.site_packages / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir(exist_ok=True)
            (folder / "METADATA").write_text("whole")
            (folder / "RECORD").write_text(f"{folder.name}/METADATA,,5\n{folder.name}/RECORD,,\n")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], []),
        (["--with", "libero"], ["libero"]),
        (["--with", "calvin", "--with", "libero", "--with", "calvin"], ["calvin", "libero"]),
    ],
)
def test_simulators_are_asked_for_by_name_and_each_is_installed_once(arguments, names):
    assert wanted_simulators(arguments) == names


@pytest.mark.parametrize("arguments", [["libero"], ["--with"], ["--with", "gazebo"], ["--fast"], ["--with", "libero", "x"]])
def test_other_arguments_are_refused_with_those_that_exist(arguments):
    with pytest.raises(Problem, match=f"--with libero and --with calvin, but it was given {' '.join(arguments)}"):
        wanted_simulators(arguments)


def test_what_is_listed_is_installed_and_nothing_besides_and_only_once(layout):
    step = WithoutPip(layout)
    assert settle(step, Progress(7)) is True
    *_, last = step.asked
    assert last[0] == str(folder_of(layout.venv, "libero") / "bin" / "python")
    assert last[-3:] == ["--no-deps", "--requirement", str(layout.root / "requirements" / "libero.txt")]
    assert "--constraint" not in last and last[last.index("--no-binary") + 1] == "bddl"
    again = WithoutPip(layout)
    assert settle(again, Progress(7)) is False and again.asked == []


def spoil_list(layout, theirs):
    (layout.root / "requirements" / "libero.txt").write_text("arm==1.1\n")


def spoil_package(layout, theirs):
    next(theirs.rglob("arm-1.0.dist-info/METADATA")).write_text("cut")


def spoil_interpreter(layout, theirs):
    (theirs / "bin" / "python").unlink()


@pytest.mark.parametrize("spoil", [spoil_list, spoil_package, spoil_interpreter])
def test_another_list_or_any_damage_calls_for_work(layout, spoil):
    settle(WithoutPip(layout), Progress(7))
    spoil(layout, folder_of(layout.venv, "libero"))
    assert settle(WithoutPip(layout), Progress(7)) is True
    assert settle(WithoutPip(layout), Progress(7)) is False


def test_two_simulators_do_not_meet(layout):
    settle(WithoutPip(layout), Progress(8))
    settle(WithoutPip(layout, "calvin"), Progress(8))
    assert settle(WithoutPip(layout), Progress(8)) is False


def test_what_cannot_be_imported_in_the_end_is_told_and_not_taken_for_finished(layout):
    with pytest.raises(
        Problem, match="the environment of libero does not work: ModuleNotFoundError: No module named 'no_such'"
    ):
        settle(WithoutPip(layout, fails=("no_such",)), Progress(7))
    assert settle(WithoutPip(layout), Progress(7)) is True


def test_a_python_without_pybullet_wheels_is_refused_and_libero_takes_it(layout):
    newer = replace(layout, python_version=(3, 12))
    with pytest.raises(Problem, match=r"Python 3.12, calvin needs 3.11 or older: its PyBullet has no wheels .*python3\.11"):
        settle(WithoutPip(newer, "calvin"), Progress(7))
    assert simulators.refusal(SIMULATORS["libero"], (3, 12)) is None


def test_a_disk_that_is_too_small_is_told_before_anything_is_made(layout, monkeypatch):
    monkeypatch.setattr("setup_steps.disk.free_gb", lambda folder: 0.5)
    with pytest.raises(Problem, match=r"the disk is too full: .*simulators/libero needs 2.2 GB and 0.5 GB are free"):
        settle(WithoutPip(layout), Progress(7))
    assert not folder_of(layout.venv, "libero").exists()


def test_no_network(layout):
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_CACHE_DIR": "1"}
    environ = {"PATH": os.defpath, "HOME": str(layout.root), "LC_ALL": "C.UTF-8", **nowhere}
    with pytest.raises(Problem, match=r"pip cannot reach its package index; .*7-libero\.log"):
        settle(InstallSimulator(layout, environ, SIMULATORS["libero"]), Progress(7))


def test_both_environments_have_what_our_own_side_of_the_process_needs():
    for name in SIMULATORS:
        assert {"numpy", "scipy", "pyyaml"} <= set(read_pins(ROOT / "requirements" / f"{name}.txt"))
