"""What the LIBERO back end does before and without LIBERO: read files, check, refuse."""

import os
import pickle  # to make files; nothing of ours reads with it
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from worldagen.errors import ConfigError, SimulatorError, UnknownName
from worldagen_sim.environment import make_environment
from worldagen_sim.libero import PYTHON, installation, simulator, suites
from worldagen_sim.libero.initial_states import read_initial_states
from worldagen_sim.libero.simulator import Libero, action_of, find_renderer, focal_length

STATES = np.random.default_rng(0).normal(size=(50, 300))


def stored(path, content, name="archive/data.pkl", protocol=2):
    """A file as LIBERO's, which torch wrote."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        archive.writestr("archive/version", "3\n")
    return path


@pytest.mark.parametrize("states", [STATES, STATES[:1], STATES[:, :2]])
def test_stored_states_are_read_to_the_last_bit_without_unpickling(tmp_path, monkeypatch, states):
    path = stored(tmp_path / "task.pruned_init", np.ascontiguousarray(states))
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "Unpickler", None)
    read = read_initial_states(path)
    assert read.dtype == np.float64 and read.tolist() == states.tolist()


class Runs:
    """What a file would make Python do if it were unpickled."""

    def __reduce__(self):
        return os.mkdir, ("was_here",)


def cut_off(content):
    return pickle.dumps(content, 2)[:-40]


def disguised(content):
    """The right sequence of instructions, one of which calls something else."""
    return pickle.dumps(content, 2).replace(b"c_codecs\nencode\n", b"cos\nsystem\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Runs(), "instructions, expected"),
        (disguised(STATES), "'GLOBAL os system', expected 'GLOBAL _codecs encode'"),
        (STATES.astype(np.float32), "'BINUNICODE f4', expected 'BINUNICODE f8'"),
        (STATES.astype(">f8"), "'BINUNICODE >', expected 'BINUNICODE <'"),
        (STATES.T[:, :3], "instructions, expected|'NEWTRUE', expected 'NEWFALSE'"),
        (STATES[0].copy(), "instructions, expected|expected"),
        (np.array([Runs()]), "expected"),
        (cut_off(STATES), "holds no initial states"),
        (b"no pickle at all", "holds no initial states"),
        (np.full((2, 3), np.nan), "all finite"),
    ],
)
def test_whatever_else_a_file_holds_is_refused_and_nothing_of_it_is_run(tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SimulatorError, match=words):
        read_initial_states(stored(tmp_path / "task.pruned_init", content))
    assert not (tmp_path / "was_here").exists()


def test_a_file_that_is_missing_or_no_archive_or_another_archive_is_named(tmp_path):
    other = stored(tmp_path / "other", b"", name="else.txt")
    (tmp_path / "text").write_text("text")
    for path in (tmp_path / "none", tmp_path / "text", other):
        with pytest.raises(SimulatorError, match=f"the initial states in {path} cannot be read"):
            read_initial_states(path)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("KITCHEN_SCENE3_turn_on_the_stove_and_put_the_moka_pot_on_it", "turn on the stove and put the moka pot on it"),
        ("KITCHEN_SCENE10_close_the_top_drawer_of_the_cabinet", "close the top drawer of the cabinet"),
        ("pick_up_the_black_bowl_on_the_stove", "pick up the black bowl on the stove"),
    ],
)
def test_the_words_for_a_task_are_those_of_libero(task, words):
    assert suites.language_of(task) == words


def test_tasks_are_those_of_the_suites_that_are_wanted_in_their_order(tmp_path):
    (tmp_path / "benchmark").mkdir()
    table = {"libero_10": ["SCENE1_b", "SCENE2_a"], "libero_90": ["SCENE1_c"]}
    (tmp_path / "benchmark" / "__init__.py").write_text("import torch_that_is_not_here")
    (tmp_path / "benchmark" / "libero_suite_task_map.py").write_text(f"libero_task_map = {table}")
    read = suites.read_suites(tmp_path, ["libero_10"])
    assert [(task.name, task.instruction) for task in suites.tasks_of(read)] == [("SCENE1_b", "b"), ("SCENE2_a", "a")]
    assert read.problem("libero_10", "SCENE1_b") == tmp_path / "bddl_files/libero_10/SCENE1_b.bddl"


@pytest.mark.parametrize(
    ("renderer", "options", "error", "words"),
    [
        ("auto", "suites=libero_11", UnknownName, "unknown LIBERO suite 'libero_11'; choose one of: libero_10, libero_90"),
        ("auto", "settle=gently", UnknownName, "unknown way to settle 'gently'; choose one of: open, still"),
        ("crayon", "", UnknownName, "unknown LIBERO renderer 'crayon'"),
        ("auto", "size=3", SimulatorError, "size=3, settle_steps=10; expected a suite, 8 to 2048 pixels"),
        ("auto", "suites=''", SimulatorError, "expected a suite"),
        ("auto", "settle_steps=-1", SimulatorError, "0 or more steps"),
        ("auto", "light=9", SimulatorError, "light=9, camera_deg=0.0; expected 0 to 3, -90 to 90"),
        ("auto", "assets=here", ConfigError, "no option of libero; expected .*suites, size, settle_steps"),
        ("auto", "python=/nowhere/python", SimulatorError, "no interpreter /nowhere/python, which the option python names"),
    ],
)
def test_what_cannot_be_started_is_refused_before_a_process_is(renderer, options, error, words):
    with pytest.raises(error, match=words):
        make_environment("libero", renderer, options)


def test_an_interpreter_that_is_missing_is_told_with_the_command_that_brings_it(monkeypatch, tmp_path):
    monkeypatch.setenv(PYTHON, str(tmp_path / "gone"))
    with pytest.raises(SimulatorError, match=f"no interpreter {tmp_path}/gone, which WORLDAGEN_LIBERO_PYTHON names"):
        make_environment("libero")
    monkeypatch.delenv(PYTHON)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(SimulatorError, match=r"simulators/libero/bin/python is missing\): run scripts/setup --with libero"):
        make_environment("libero")


def test_an_interpreter_without_libero_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "PACKAGES", ("hf-libero-of-nobody",))
    with pytest.raises(SimulatorError, match="has no hf-libero-of-nobody, which LIBERO needs; run scripts/setup --with libero"):
        installation.read_versions()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SimulatorError, match="has no package libero"):
        installation.find_package()


@pytest.mark.parametrize(
    ("robosuite", "mujoco", "words"),
    [
        ("1.5.2", "3.8.1", "robosuite 1.5.2, LIBERO needs 1.4;"),
        ("1.4.0", "3.9.0", "mujoco 3.9.0, robosuite 1.4 needs one from 3.0 to 3.8"),
        ("1.5.2", "4.0.0", "robosuite 1.5.2, .*; mujoco 4.0.0"),
    ],
)
def test_versions_that_cannot_work_are_refused_together(robosuite, mujoco, words):
    with pytest.raises(SimulatorError, match=words):
        installation.check_versions({"robosuite": robosuite, "mujoco": mujoco})
    installation.check_versions({"robosuite": "1.4.1", "mujoco": "3.3.7"})


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(installation.ASSETS, raising=False)
    return tmp_path / "home"


def make_assets(folder, *more):
    for name in (*installation.ASSET_FOLDERS, *more):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def test_assets_are_those_that_are_named_else_where_libero_looks(home, tmp_path, monkeypatch):
    package = tmp_path / "package"
    with pytest.raises(SimulatorError, match=r"package/assets lacks articulated_objects; .*home/.cache/libero/assets lacks"):
        installation.find_assets(package)
    cached = make_assets(home / ".cache" / "libero" / "assets")
    assert installation.find_assets(package) == cached
    own = make_assets(package / "assets")
    assert installation.find_assets(package) == own
    monkeypatch.setenv(installation.ASSETS, str(tmp_path / "mine"))
    with pytest.raises(SimulatorError, match=r"mine lacks .*Nothing is fetched; .* WORLDAGEN_LIBERO_ASSETS: docs/simulators"):
        installation.find_assets(package)
    mine = make_assets(tmp_path / "mine")
    assert installation.find_assets(package) == mine


def test_a_set_of_assets_that_is_not_whole_has_a_caveat(home, tmp_path, monkeypatch):
    assert "assets are missing" in installation.caveat_of(tmp_path)
    make_assets(tmp_path / "assets")
    assert "not complete, scenes/libero_floor_base_style.xml is missing" in installation.caveat_of(tmp_path)
    make_assets(tmp_path / "assets", *installation.SAMPLES)
    assert installation.caveat_of(tmp_path) == ""


def test_the_import_finds_its_configuration_and_asks_nothing(home, tmp_path, monkeypatch):
    for name in ("LIBERO_CONFIG_PATH", "MPLCONFIGDIR", "HF_HUB_OFFLINE", "MUJOCO_GL", "PYOPENGL_PLATFORM", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, "before")
    folder = installation.prepare_import(tmp_path / "libero", "osmesa")
    config = yaml.safe_load(Path(os.environ["LIBERO_CONFIG_PATH"], "config.yaml").read_text("utf-8"))
    assert set(config) == {"benchmark_root", "bddl_files", "init_states", "datasets", "assets"}
    assert config["bddl_files"] == str(tmp_path / "libero" / "bddl_files")
    assert (os.environ["MUJOCO_GL"], os.environ["PYOPENGL_PLATFORM"], os.environ["HF_HUB_OFFLINE"]) == ("osmesa", "osmesa", "1")
    installation.prepare_import(tmp_path / "libero", "").cleanup()
    assert os.environ["MUJOCO_GL"] == "glx"  # for which robosuite looks for no driver
    folder.cleanup()
    assert not home.exists()


def test_a_row_becomes_an_action_of_libero():
    assert action_of(np.array([0.05, -0.025, 0.0, 0.5, 0.0, -0.25, 1.0])).tolist() == [1.0, -0.5, 0.0, 1.0, 0.0, -0.5, -1.0]
    assert action_of(np.array([0.2, -0.2, 0.0125, 0.0, 2.0, 0.0, 0.0])).tolist() == [1.0, -1.0, 0.25, 0.0, 1.0, 0.0, 1.0]
    assert action_of(np.array([0, 0, 0, 0, 0, 0, 0.5]))[6] == 0.0  # holds


def test_what_arithmetic_leaves_of_no_turn_is_no_turn():
    assert action_of(np.array([0.01, 0, 0, 1e-17, -1e-12, 1e-9, 1.0]))[3:6].tolist() == [0.0, 0.0, 0.0]
    assert action_of(np.array([0.01, 0, 0, 1e-6, 0, 0, 1.0]))[3] == pytest.approx(2e-6)


def test_without_opengl_there_is_physics_without_pictures(monkeypatch):
    assert find_renderer("raycast") == ("", "the renderer raycast was asked for")
    monkeypatch.setattr(simulator, "find_gl_platform", lambda wanted: ("", "egl: it is gone"))
    assert find_renderer("auto") == ("", "egl: it is gone")
    with pytest.raises(SimulatorError, match=r"no OpenGL for LIBERO \(egl: it is gone\)"):
        find_renderer("egl")
    blind = Libero.__new__(Libero)
    blind._world, blind._first_pictures = object(), {}
    blind._platform, blind._no_pictures = find_renderer("auto")
    with pytest.raises(SimulatorError, match="LIBERO draws with OpenGL only, and there is none: egl: it is gone"):
        blind.render()


def test_focal_lengths_are_those_of_the_fields_of_view():
    assert focal_length(128, 90.0) == pytest.approx(64.0)
    assert focal_length(128, 45.0) == pytest.approx(154.5, abs=0.1)
