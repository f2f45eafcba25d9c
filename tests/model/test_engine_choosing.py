"""The gate measures what an engine changes and refuses with numbers; the choice takes the fastest that passes, else torch."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_making import SMALL_VIT, FailingEngine, ScaledEngine
from small_networks import TINY, build

from worldagen.checkpoint import find_checkpoint, load_checkpoint
from worldagen.data.episodes import Episode
from worldagen.engines import choosing
from worldagen.engines.choosing import choose_engine
from worldagen.engines.config import EngineConfig, EngineLimits
from worldagen.engines.encoder import TorchEngine
from worldagen.engines.exported import export
from worldagen.engines.gate import Gate
from worldagen.engines.onnx_runtime import OnnxruntimeEngine
from worldagen.engines.probe import DRAWN_FRAMES, draw_probe, read_probe
from worldagen.errors import EngineError
from worldagen.policy_conventions import PRESET_CONVENTIONS

CALVIN = PRESET_CONVENTIONS["calvin"]
OPEN = EngineLimits(
    min_cosine=0.0, max_error=100.0, max_translation_m=1.0, max_rotation_rad=3.0, max_gripper_flips=1.0
)  # lets everything pass


def new_gate(network, limits=None):
    return Gate(network, CALVIN, draw_probe(), limits or EngineLimits())


def choose(network, tmp_path, **settings):
    told: list[str] = []
    settings = {"folder": str(tmp_path / "engines"), **settings}
    return choose_engine(network, CALVIN, EngineConfig(**settings), 1, told.append), told


# -- the gate ------------------------------------------------------------------------------------------------------------------


def test_torch_itself_changes_nothing():
    network = build(TINY)
    parity = new_gate(network).admit(TorchEngine(network))
    assert (parity.translation_m, parity.rotation_rad, parity.gripper_flips) == (0, 0, 0)
    assert parity.error == {"static": 0, "wrist": 0} and min(parity.cosine.values()) > 0.999999
    assert parity.frames == DRAWN_FRAMES


def test_wrong_tokens_are_refused_with_their_numbers():
    network = build(TINY)
    with pytest.raises(
        EngineError, match=r"times 3 changes too much on 8 drawn frames: error of static tokens [\d.]+ RMS, limit 1"
    ):
        new_gate(network).admit(ScaledEngine(network, 3))
    with pytest.raises(EngineError, match=r"cosine of static tokens -1.00000, limit 0.99"):
        new_gate(network).admit(ScaledEngine(network, -1))


def test_the_actions_count_in_metres_radians_and_flips_whatever_the_tokens_say():
    network = build(TINY)
    parity = new_gate(network).judge(ScaledEngine(network, 2))
    assert parity.translation_m > 0 and parity.rotation_rad > 0
    for tight in (
        {"max_translation_m": parity.translation_m / 2},
        {"max_rotation_rad": parity.rotation_rad / 2},
    ):
        assert len(parity.refusals(replace(OPEN, **tight))) == 1
    assert len(parity.refusals(replace(OPEN, max_error=0.5))) == 2  # one for each view
    flipped = replace(parity, gripper_flips=0.5)
    assert flipped.refusals(replace(OPEN, max_gripper_flips=0.4)) == ["50.0% of rows flip the gripper, limit 40.0%"]


def test_nan_passes_no_limit():
    parity = replace(new_gate(build(TINY)).judge(TorchEngine(build(TINY))), translation_m=float("nan"))
    assert parity.refusals(OPEN) == ["translation changes by nan mm, limit 1000"]


def test_an_engine_that_fails_under_way_is_no_engine():
    network = build(TINY)
    with pytest.raises(EngineError, match="out of GPU memory"):
        new_gate(network, OPEN).judge(FailingEngine(network, works=3))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnxruntime_passes_the_default_gate_with_the_shipped_checkpoint(precision, tmp_path):
    network, conventions = load_checkpoint(find_checkpoint("playtable"))
    gate = Gate(network, conventions, draw_probe(), EngineLimits())
    gate.admit(OnnxruntimeEngine(export(tmp_path, network, precision), threads=1))


@pytest.mark.parametrize(
    ("precision", "limits"),
    [
        ("fp32", EngineLimits(max_translation_m=1e-6, max_rotation_rad=1e-6, max_gripper_flips=0.0)),
        # Random weights in every learned token make actions of noise: only the tokens tell.
        ("int8", replace(OPEN, min_cosine=0.99, max_error=0.5)),
    ],
)
def test_onnxruntime_keeps_the_tokens_of_a_vit(precision, limits, tmp_path):
    network = build(SMALL_VIT)
    new_gate(network, limits).admit(OnnxruntimeEngine(export(tmp_path, network, precision), threads=1))


# -- the probe -----------------------------------------------------------------------------------------------------------------


def test_drawn_frames_are_the_same_every_time_and_move():
    one, other = draw_probe(), draw_probe()
    for (_, seen), (_, again) in zip(one.runs, other.runs, strict=True):
        assert all(np.array_equal(a.static_image, b.static_image) for a, b in zip(seen, again, strict=True))
        assert not np.array_equal(seen[0].static_image, seen[1].static_image)
        assert not np.array_equal(seen[0].wrist_image, seen[1].wrist_image)


class TwoEpisodes:
    """In the place of a folder of bags: two episodes of 40 instants; every picture shows its instant."""

    def __init__(self, path):
        self.path = path

    def episodes(self):
        return ["first", "second"]

    def read(self, name):
        def pictures():
            for instant in range(40):
                yield np.full((8, 8, 3), instant, np.uint8), np.full((4, 4, 3), instant, np.uint8)

        actions = np.zeros((40, 7))
        return Episode(name, f"words of {name}", CALVIN.actions, np.zeros((40, 7)), actions, actions, pictures)


def test_frames_of_bags_are_taken_from_all_episodes_and_a_decision_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("worldagen.data.bags.BagSource", TwoEpisodes)
    probe = read_probe([tmp_path / "bags"], step=5, frames=16)
    assert probe.source == "16 frames of bags" and probe.frames == 16
    assert [words for words, _ in probe.runs] == ["words of first"] * 2 + ["words of second"] * 2
    shown = [[int(one.static_image[0, 0, 0]) for one in seen] for _, seen in probe.runs]
    assert shown == [[0, 5, 10, 15], [24, 29, 34, 39]] * 2


def test_a_folder_without_bags_is_no_probe(tmp_path):
    with pytest.raises(EngineError, match="no frames to try engines with"):
        read_probe([tmp_path], step=5)


# -- the choice ----------------------------------------------------------------------------------------------------------------


def test_by_default_torch_computes_and_nothing_is_written(tmp_path):
    choice, told = choose(build(TINY), tmp_path)
    assert choice.encoder is None and str(choice) == "torch fp32 (exact)"
    assert not told and not (tmp_path / "engines").exists()


def test_onnxruntime_is_exported_judged_and_told_with_figures(tmp_path):
    choice, told = choose(build(SMALL_VIT), tmp_path, kind="onnxruntime", precision="fp32")
    assert choice.engine.name == "onnxruntime fp32 on CPU"
    assert "ms a frame" in str(choice) and "mm" in str(choice) and "8 drawn frames" in str(choice)
    assert choice.encoder is choice.engine and choice.refused == []
    assert len(told) == 2  # the two that were timed


def test_the_next_one_is_taken_where_the_gate_refuses_the_first(tmp_path):
    network = build(SMALL_VIT)
    limits = EngineLimits(max_error=1e-3)
    choice, told = choose(network, tmp_path, kind="onnxruntime", limits=limits)
    assert choice.engine.name == "onnxruntime fp32 on CPU"
    assert "int8 on CPU changes too much" in choice.refused[0] and f"refused: {choice.refused[0]}" in told


def test_torch_is_left_where_nothing_passes(tmp_path):
    choice, told = choose(build(SMALL_VIT), tmp_path, kind="onnxruntime", precision="int8", limits=EngineLimits(max_error=1e-6))
    assert isinstance(choice.engine, TorchEngine) and len(choice.refused) == 1
    assert told[-1] == "no engine of onnxruntime int8 can be used here; torch computes the encoder"


@pytest.mark.parametrize(
    ("kind", "precision", "reason"),
    [
        ("tensorrt", "fp16", "TensorRT is not installed"),
        ("onnxruntime", "fp16", "does not run fp16 on CPU; its choices there: int8, fp32"),
        ("onnxruntime", "fp8", "does not run fp8 on CPU"),
    ],
)
def test_what_this_machine_cannot_do_falls_back_with_the_reason(tmp_path, monkeypatch, kind, precision, reason):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(choosing, "available_providers", lambda: ["CPU"])
    choice, _ = choose(build(TINY), tmp_path, kind=kind, precision=precision)
    assert isinstance(choice.engine, TorchEngine)
    assert reason in choice.refused[0]


def test_onnxruntime_that_is_not_installed_falls_back_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    choice, _ = choose(build(TINY), tmp_path, kind="onnxruntime")
    assert isinstance(choice.engine, TorchEngine) and "onnxruntime is not installed" in choice.refused[0]


def test_torch_refuses_a_precision_it_does_not_compute_in(tmp_path):
    with pytest.raises(EngineError, match="not in int8"):
        choose(build(TINY), tmp_path, kind="torch", precision="int8")


def test_auto_takes_the_fastest_and_torch_where_little_is_won(tmp_path, monkeypatch):
    network = build(TINY)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr(choosing, "available_providers", lambda: ["CPU"])
    names: list[str] = []

    def times(seconds):
        def measure(engines, pictures, rounds):
            names[:] = [engine.name for engine in engines]
            return seconds

        return measure

    monkeypatch.setattr(choosing, "time_engines", times([0.02, 0.01, 0.05, 0.04]))
    choice, _ = choose(network, tmp_path, kind="auto", limits=OPEN)
    assert names == ["onnxruntime int8 on CPU", "onnxruntime fp32 on CPU", "torch fp32", "torch fp32"]
    assert choice.engine.name == "onnxruntime fp32 on CPU"
    assert "TensorRT is not installed" in choice.refused[0]
    monkeypatch.setattr(choosing, "time_engines", times([0.038, 0.039, 0.04, 0.04]))
    choice, _ = choose(network, tmp_path, kind="auto", limits=OPEN)
    assert isinstance(choice.engine, TorchEngine) and "nothing is faster here" in str(choice)


def test_a_folder_that_others_can_write_to_leaves_torch(tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    choice, _ = choose(build(TINY), tmp_path, kind="onnxruntime")
    assert isinstance(choice.engine, TorchEngine) and "others can write there" in choice.refused[0]


def test_frames_that_cannot_be_read_are_an_error_and_no_silent_change(tmp_path):
    with pytest.raises(EngineError, match="no frames"):
        choose(build(TINY), tmp_path, kind="onnxruntime", frames=str(Path(tmp_path / "missing")))


def test_torch_that_cannot_compile_is_left_for_torch_that_need_not(tmp_path, monkeypatch):
    def broken(_):
        def fail(*_):
            raise RuntimeError("no C++ compiler")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    choice, _ = choose(build(TINY), tmp_path, kind="torch", compile=True)
    assert choice.engine.name == "torch fp32" and "cannot be compiled here (no C++ compiler)" in choice.refused[0]
