"""Building and running TensorRT engines, against a stand-in for its Python interface, as strict as three versions are."""

import sys
from dataclasses import replace

import pytest
import tensorrt_standin
import torch
from engine_making import SMALL_VIT, pictures
from small_networks import TINY, build

from worldagen.engines import choosing
from worldagen.engines.choosing import choose_engine
from worldagen.engines.config import EngineConfig, EngineLimits
from worldagen.engines.encoder import TorchEngine
from worldagen.engines.exported import export
from worldagen.engines.files import store
from worldagen.engines.tensorrt_build import (
    Gpu,
    describe_plan,
    find_or_build,
    import_tensorrt,
    key_of,
    look_at_gpu,
    require_precision,
    require_version,
)
from worldagen.engines.tensorrt_engine import TensorrtEngine
from worldagen.errors import EngineError
from worldagen.policy_conventions import PRESET_CONVENTIONS

ADA = Gpu("RTX 4090", (8, 9), "driver 550")
VERSIONS = ["8.6.1", "10.9.0", "11.3.0"]


class FakeStream:
    """Keeps the order of what a stream of torch would be asked for."""

    def __init__(self, device):
        self.handle, self.calls = 77, []

    def begin(self):
        self.calls.append("begin")

    def end(self, tensors):
        self.calls.append(f"end with {len(tensors)} tensors")


def frames_of(config):
    return [pictures(config, seed=seed) for seed in range(4)]


def built(tmp_path, trt, config=TINY, precision="fp32", say=lambda _: None):
    network = build(config)
    exported = export(tmp_path, network, precision, frames_of(config) if precision in ("int8", "fp8") else None)
    return network, find_or_build(trt, ADA, tmp_path / "plans", exported, 64, say)


def opened(trt, plan):
    return TensorrtEngine(trt, plan, torch.device("cpu"), FakeStream)


# -- building ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("config", [TINY, SMALL_VIT], ids=["convolutions", "ViT"])
def test_every_version_builds_by_its_own_rules_and_computes_the_network(tmp_path, version, precision, config):
    trt = tensorrt_standin.make(version)
    network, plan = built(tmp_path, trt, config, precision)
    ((parsed, settings),) = trt.Builder.built
    side = config.vision.static_size
    assert parsed.typed == (version != "8.6.1")
    assert settings.profiles[0].shapes["static"] == ((1, 3, side, side), (1, 3, side, side), (16, 3, side, side))
    assert settings.workspace == 64 << 20
    given = pictures(config, 2)
    with torch.inference_mode():
        expected, found = network.encode_frames(*given), opened(trt, plan).encode(*given)
    for ours, theirs in zip(expected, found, strict=True):
        assert torch.allclose(ours, theirs, atol={"fp32": 1e-4, "fp16": 0.05, "int8": 0.5}[precision] * float(ours.abs().max()))


@pytest.mark.parametrize(("version", "steps"), [("10.9.0", ["Building: 1 of 2", "Building: 2 of 2"]), ("8.6.1", [])])
def test_progress_is_told_where_tensorrt_tells_it(tmp_path, version, steps):
    told = []
    built(tmp_path, tensorrt_standin.make(version), say=told.append)
    assert told == [f"TensorRT {version} builds the encoder in fp32; this takes minutes, once on this machine", *steps]


def test_a_plan_is_built_once_and_what_was_timed_helps_the_next(tmp_path):
    trt = tensorrt_standin.make("10.9.0")
    _, plan = built(tmp_path, trt)
    assert built(tmp_path, trt)[1] == plan
    assert len(trt.Builder.built) == 1
    built(tmp_path, trt, precision="fp16")
    assert trt.Builder.built[1][1].cache.data == b"timed"  # what the first build left
    assert (tmp_path / "plans").stat().st_mode & 0o777 == 0o700


def test_a_cut_plan_is_told_and_built_again(tmp_path):
    trt, told = tensorrt_standin.make("10.9.0"), []
    _, plan = built(tmp_path, trt)
    plan.path.write_bytes(plan.path.read_bytes()[:100])
    _, again = built(tmp_path, trt, say=told.append)
    assert again.told == plan.told and len(trt.Builder.built) == 2
    assert "has 100 bytes that are not those of its manifest" in told[0]


def test_the_key_changes_with_everything_a_plan_is_bound_to(tmp_path):
    trt, network = tensorrt_standin.make("10.9.0"), build(TINY)
    exported = export(tmp_path, network, "fp32")
    told = [
        describe_plan(trt, ADA, exported),
        describe_plan(trt, replace(ADA, name="Orin"), exported),
        describe_plan(trt, replace(ADA, capability=(8, 7)), exported),
        describe_plan(trt, replace(ADA, driver="driver 560"), exported),
        describe_plan(tensorrt_standin.make("10.10.0"), ADA, exported),
        describe_plan(trt, ADA, export(tmp_path, network, "fp16")),
        describe_plan(trt, ADA, export(tmp_path, build(TINY, seed=1), "fp32")),
    ]
    assert len({key_of(one) for one in told}) == len(told)
    assert key_of(told[0]) == key_of(dict(reversed(told[0].items())))


def test_what_cannot_be_built_is_told_in_tensorrts_words(tmp_path):
    trt = tensorrt_standin.make("10.9.0")
    trt.Builder.fails = "OutOfMemory: no memory for\n tactic"
    with pytest.raises(EngineError, match=r"OutOfMemory: no memory for tactic\); .*lower engine.workspace_mib \(64\)"):
        built(tmp_path, trt)
    assert not list((tmp_path / "plans").glob("*.plan"))


def test_a_file_that_tensorrt_does_not_read_is_told(tmp_path):
    trt, exported = tensorrt_standin.make("8.6.1"), export(tmp_path, build(TINY), "fp32")
    broken = store(tmp_path / "broken.onnx", b"no model", exported.told)
    with pytest.raises(EngineError, match=r"TensorRT 8.6.1 does not read .*broken.onnx"):
        find_or_build(trt, ADA, tmp_path / "plans", broken, 64, lambda _: None)


# -- what a machine can do -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu", "version", "precision", "words"),
    [
        (Gpu("Xavier", (7, 2), ""), "10.9.0", "bf16", "choose one of: fp32, fp16, int8"),
        (Gpu("Orin", (8, 7), ""), "10.9.0", "fp8", r"fp8 needs compute capability 8.9 .*Orin has 8.7"),
        (ADA, "8.6.1", "bf16", "bf16 needs compute capability 8.0 and TensorRT 10: .*TensorRT is 8.6.1"),
    ],
)
def test_a_precision_that_the_hardware_lacks_is_refused_with_those_it_has(gpu, version, precision, words):
    with pytest.raises(EngineError, match=words):
        require_precision(tensorrt_standin.make(version), gpu, precision)


def test_an_old_tensorrt_and_none_are_told(monkeypatch):
    with pytest.raises(EngineError, match=r"8\.5\.2 is too old; expected 8\.6"):
        require_version(tensorrt_standin.make("8.5.2"))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match="TensorRT is not installed"):
        import_tensorrt()


def test_a_machine_without_a_gpu_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineError, match="there is no GPU for TensorRT"):
        look_at_gpu()


# -- running -------------------------------------------------------------------------------------------------------------------


def test_it_runs_on_the_tensors_themselves_and_on_its_own_stream(tmp_path):
    trt = tensorrt_standin.make("10.9.0")
    _, plan = built(tmp_path, trt)
    engine = opened(trt, plan)
    addresses = {}
    take = engine._context.set_tensor_address
    engine._context.set_tensor_address = lambda name, address: addresses.update({name: address}) or take(name, address)
    static, wrist = pictures(TINY, 3)
    latents, cls = engine.encode(static, wrist)
    assert addresses["static"] == static.data_ptr() and addresses["wrist"] == wrist.data_ptr()
    assert addresses["latents"] == latents.data_ptr() and addresses["cls"] == cls.data_ptr()
    assert engine._context.streams == [77]
    assert engine._stream.calls == ["begin", "end with 6 tensors"]


def test_pooled_outputs_come_with_the_tokens(tmp_path):
    trt = tensorrt_standin.make("10.9.0")
    network, plan = built(tmp_path, trt, SMALL_VIT)
    given = pictures(SMALL_VIT)
    with torch.inference_mode():
        expected, found = TorchEngine(network).encode_all(*given), opened(trt, plan).encode_all(*given)
    assert list(found.pooled) == list(expected.pooled)
    assert all(torch.allclose(found.pooled[name], expected.pooled[name], atol=1e-3) for name in found.pooled)


def test_more_frames_than_it_was_built_for_are_refused(tmp_path):
    trt = tensorrt_standin.make("10.9.0")
    engine = opened(trt, built(tmp_path, trt)[1])
    with pytest.raises(EngineError, match="expected 1 to 16 frames"):
        engine.encode(*pictures(TINY, 17))


def test_a_failure_while_running_becomes_ours_and_the_engine_stays_usable(tmp_path):
    trt = tensorrt_standin.make("10.9.0")
    engine = opened(trt, built(tmp_path, trt)[1])
    engine._context.fails = True
    engine._logger.log(tensorrt_standin.Severity.ERROR, "Cuda failure: out of memory")
    engine._logger.log(tensorrt_standin.Severity.WARNING, "this is no complaint")
    with pytest.raises(EngineError, match=r"it failed while running \(Cuda failure: out of memory\)"):
        engine.encode(*pictures(TINY))
    engine._context.fails = False
    engine.encode(*pictures(TINY))


def test_memory_that_runs_out_is_told(tmp_path, monkeypatch):
    trt = tensorrt_standin.make("10.9.0")
    _, plan = built(tmp_path, trt)
    engine = opened(trt, plan)

    def none_left(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "empty", none_left)
        with pytest.raises(EngineError, match=r"out of GPU memory \(CUDA out of memory.\)"):
            engine.encode(*pictures(TINY))
    trt.Runtime.memory_left = False
    with pytest.raises(EngineError, match="not enough GPU memory"):
        opened(trt, plan)


def test_a_plan_that_is_none_or_of_something_else_is_refused(tmp_path):
    trt = tensorrt_standin.make("10.9.0")
    _, plan = built(tmp_path, trt)
    with pytest.raises(EngineError, match=r"is no engine for this machine \(Serialization assertion failed\)"):
        opened(trt, store(tmp_path / "broken.plan", b"nothing", plan.told))
    other = store(tmp_path / "other.plan", plan.path.read_bytes(), {**plan.told, "outputs": ["latents", "cls"]})
    with pytest.raises(EngineError, match="the plan's tensors are static, wrist, latents, cls, pooled_middle, pooled_deep"):
        opened(trt, other)


# -- chosen --------------------------------------------------------------------------------------------------------------------


def test_int8_without_frames_is_refused_and_fp16_taken(tmp_path, monkeypatch):
    trt = tensorrt_standin.make("10.9.0")
    monkeypatch.setattr(choosing, "import_tensorrt", lambda: trt)
    monkeypatch.setattr(choosing, "look_at_gpu", lambda: ADA)
    monkeypatch.setattr(choosing, "TensorrtEngine", lambda trt, plan, _: opened(trt, plan))
    config = EngineConfig(kind="tensorrt", folder=str(tmp_path / "engines"), limits=EngineLimits(max_gripper_flips=1.0))
    choice = choose_engine(build(TINY), PRESET_CONVENTIONS["calvin"], config, 1)
    assert choice.engine.name == "tensorrt fp16 on RTX 4090"
    assert [line.split(":")[0] for line in choice.refused] == ["tensorrt fp8", "tensorrt int8"]
    assert all("needs calibration frames; give a bag with engine.frames" in line for line in choice.refused)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_real_tensorrt_computes_the_network(tmp_path, precision):
    trt = pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    if not torch.cuda.is_available():
        pytest.skip("torch finds no NVIDIA GPU")
    network, gpu = build(SMALL_VIT), look_at_gpu()
    plan = find_or_build(trt, gpu, tmp_path / "plans", export(tmp_path, network, precision), 256, print)
    engine = TensorrtEngine(trt, plan, torch.device("cuda"))
    for count in (1, 16):
        given = pictures(SMALL_VIT, count)
        with torch.inference_mode():
            expected, found = network.encode_frames(*given), engine.encode(*given)
        for ours, theirs in zip(expected, found, strict=True):
            assert torch.allclose(ours, theirs, atol=0.05 * float(ours.abs().max()))
