"""The exported encoder computes what the network computes, in every form, and onnx's checker agrees with the file."""

import onnx
import onnxruntime
import pytest
import torch
from engine_making import ENCODERS, SMALL_VIT, pictures
from small_networks import TINY, build

from worldagen.engines.calibration import measure_ranges
from worldagen.engines.encoder import TorchEngine
from worldagen.engines.export import FORMAT, export_encoder
from worldagen.engines.parts import encoder_digest
from worldagen.errors import EngineError


def outputs_of(data, given, optimised=True):
    """Name -> numbers of an ONNX file. Not optimised: rounded exactly as its Q/DQ pairs say, whatever this CPU's kernels do."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {"static": given[0].numpy(), "wrist": given[1].numpy()})
    return {output.name: torch.from_numpy(numbers) for output, numbers in zip(session.get_outputs(), found, strict=True)}


def expected_of(network, given):
    with torch.inference_mode():
        encoded = TorchEngine(network).encode_all(*given)
        assert all(
            torch.equal(*pair) for pair in zip(network.encode_frames(*given), (encoded.latents, encoded.cls), strict=True)
        )
    return {"latents": encoded.latents, "cls": encoded.cls, **encoded.pooled}


def worst(found, expected):
    """Largest error of any output, in root mean squares of that output."""
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in expected.items()}
    return max(float((found[name] - expected[name]).abs().max() / expected[name].square().mean().sqrt()) for name in expected)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-4), ("fp16", 0.02), ("int8", 0.3)])
def test_it_computes_the_network_for_one_frame_and_for_sixteen(name, precision, limit):
    network = build(ENCODERS[name])
    data = export_encoder(network, precision)
    for count in (1, 16) if name == "small ViT" else (1, 3):
        given = pictures(network.config, count)
        assert worst(outputs_of(data, given), expected_of(network, given)) < limit


@pytest.mark.parametrize("config", [TINY, SMALL_VIT], ids=["convolutions", "ViT"])
@pytest.mark.parametrize(("precision", "limit"), [("int8", 0.3), ("fp8", 0.6)])
def test_what_was_calibrated_rounds_little(config, precision, limit):
    network = build(config)
    ranges = measure_ranges(network, [pictures(config, seed=seed) for seed in range(4)], precision)
    given = pictures(config, 2, seed=9)
    found = outputs_of(export_encoder(network, precision, ranges), given, optimised=False)
    assert 1e-4 < worst(found, expected_of(network, given)) < limit


@pytest.mark.parametrize("config", [TINY, SMALL_VIT], ids=["convolutions", "ViT"])
def test_bf16_passes_the_checker_and_keeps_fp32_outside(config):
    model = onnx.load_model_from_string(export_encoder(build(config), "bf16"))
    onnx.checker.check_model(model, full_check=True)
    kinds = {value.type.tensor_type.elem_type for value in [*model.graph.input, *model.graph.output]}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.BFLOAT16 in {weight.data_type for weight in model.graph.initializer}


def test_the_file_says_what_it_is_of_and_leaves_the_number_of_frames_open():
    network = build(SMALL_VIT)
    model = onnx.load_model_from_string(export_encoder(network))
    assert {prop.key: prop.value for prop in model.metadata_props} == {
        "format": FORMAT,
        "encoder": encoder_digest(network),
        "precision": "fp32",
    }
    assert [opset.version for opset in model.opset_import] == [17]  # what TensorRT 8.6 reads
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "frames"
    assert [output.name for output in model.graph.output] == [
        "latents",
        "cls",
        "pooled_block_4",
        "pooled_block_8",
        "pooled_block_12",
    ]


def test_the_digest_is_of_the_encoder_alone():
    network = build(TINY)
    before = encoder_digest(network)
    with torch.no_grad():
        network.action_head.arm.bias.add_(1)
    assert encoder_digest(network) == before
    with torch.no_grad():
        network.resampler.latents.add_(1)
    assert encoder_digest(network) != before


def test_a_pooled_output_is_the_mean_over_patches_of_each_view():
    network, given = build(SMALL_VIT), pictures(SMALL_VIT, 2)
    with torch.inference_mode():
        tokens = network.vision.model.patch_embed(given[1])
        tokens = network.vision.model._pos_embed(tokens)
        for block in network.vision.model.blocks[:4]:
            tokens = block(tokens)
    found = outputs_of(export_encoder(network), given)["pooled_block_4"]
    assert torch.allclose(found[:, 1], tokens[:, 1:].mean(dim=1), atol=1e-4)


def test_a_vit_with_more_in_it_is_refused():
    network = build(SMALL_VIT)
    network.vision.model.blocks[0].ls1 = torch.nn.Linear(96, 96)
    with pytest.raises(EngineError, match="ls1"):
        export_encoder(network)


def test_fp8_is_nothing_without_frames_and_three_frames_calibrate_nothing():
    network = build(TINY)
    with pytest.raises(EngineError, match="--frames BAG"):
        export_encoder(network, "fp8")
    with pytest.raises(EngineError, match="3 frames; expected at least 4"):
        measure_ranges(network, [pictures(TINY)] * 3, "int8")
