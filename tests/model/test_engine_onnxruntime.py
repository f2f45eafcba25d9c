"""ONNX Runtime as an engine: the network's tokens, its refusals in our words, the policy's number of threads."""

import sys

import onnxruntime
import pytest
import torch
from engine_making import ENCODERS, SMALL_VIT, pictures
from small_networks import TINY, build

from worldagen.engines.encoder import TorchEngine
from worldagen.engines.exported import export
from worldagen.engines.files import store
from worldagen.engines.onnx_runtime import OnnxruntimeEngine
from worldagen.errors import EngineError


@pytest.fixture
def exported(tmp_path):
    return export(tmp_path, build(TINY), "fp32")


@pytest.mark.parametrize("name", ENCODERS)
def test_it_gives_the_networks_tokens_and_pooled_outputs(name, tmp_path):
    network = build(ENCODERS[name])
    engine = OnnxruntimeEngine(export(tmp_path, network, "fp32"), threads=1)
    given = pictures(network.config, 2)
    with torch.inference_mode():
        expected, found = TorchEngine(network).encode_all(*given), engine.encode_all(*given)
        latents, cls = engine.encode(*given)
    assert engine.name == "onnxruntime fp32 on CPU"
    assert torch.allclose(expected.latents, found.latents, atol=1e-4) and torch.allclose(expected.cls, found.cls, atol=1e-4)
    assert torch.equal(latents, found.latents) and torch.equal(cls, found.cls)
    assert list(found.pooled) == list(expected.pooled)
    assert all(torch.allclose(expected.pooled[name], found.pooled[name], atol=1e-4) for name in expected.pooled)


def test_it_takes_the_policys_threads_and_leaves_idle_cores_to_others(exported, monkeypatch):
    seen = []
    session = onnxruntime.InferenceSession

    def record(path, options, **rest):
        seen.append(options)
        return session(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    OnnxruntimeEngine(exported, threads=2)
    assert (seen[0].intra_op_num_threads, seen[0].inter_op_num_threads) == (2, 1)
    assert seen[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize("count", [0, 17])
def test_pictures_of_another_number_or_size_are_refused(exported, count):
    engine = OnnxruntimeEngine(exported, threads=1)
    with pytest.raises(EngineError, match="expected 1 to 16 frames of 3 x 32 x 32 and 3 x 16 x 16"):
        engine.encode(*pictures(TINY, count))
    with pytest.raises(EngineError, match="expected 1 to 16 frames"):
        engine.encode(*pictures(SMALL_VIT))


def test_a_file_that_is_no_model_is_refused_in_our_words(tmp_path, exported):
    broken = store(tmp_path / "broken.onnx", b"no model", exported.told)
    with pytest.raises(EngineError, match=r"onnxruntime fp32 on CPU: .*broken.onnx cannot be loaded"):
        OnnxruntimeEngine(broken, threads=1)


def test_an_error_while_running_becomes_ours(exported):
    engine = OnnxruntimeEngine(exported, threads=1)

    class Short:
        def run(self, *_):
            raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException("Failed to allocate\n memory")

    engine._session = Short()
    with pytest.raises(EngineError, match="onnxruntime fp32 on CPU: Failed to allocate memory"):
        engine.encode(*pictures(TINY))


def test_what_is_not_installed_is_told(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match="onnxruntime is not installed"):
        OnnxruntimeEngine(exported, threads=1)


def test_a_provider_that_this_build_lacks_is_told(exported):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built for CUDA, so the CUDA provider is not missing")
    with pytest.raises(EngineError, match="has no CUDAExecutionProvider; install onnxruntime-gpu"):
        OnnxruntimeEngine(exported, threads=1, provider="CUDA")


def test_a_precision_that_a_provider_does_not_have_and_the_calibrated_form_are_refused(tmp_path):
    network = build(TINY)
    with pytest.raises(EngineError, match="does not run fp16 on CPU; its choices there: int8, fp32"):
        OnnxruntimeEngine(export(tmp_path, network, "fp16"), threads=1)
    calibrated = export(tmp_path, network, "int8", [pictures(TINY, seed=seed) for seed in range(4)])
    with pytest.raises(EngineError, match="does not run calibrated int8 on CPU"):
        OnnxruntimeEngine(calibrated, threads=1)


@pytest.mark.gpu
def test_cuda_gives_the_same_tokens(exported):
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is not built for CUDA")
    if not torch.cuda.is_available():
        pytest.skip("torch finds no NVIDIA GPU")
    given, network = pictures(TINY), build(TINY)
    found, _ = OnnxruntimeEngine(exported, threads=1, provider="CUDA").encode(*given)
    with torch.inference_mode():
        assert torch.allclose(network.encode_frames(*given)[0], found, atol=1e-3)
