"""The published presets have the published sizes."""

import pytest
import torch

from worldagen.network.config import find_preset
from worldagen.network.worldagen import WorldAgen


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def calvin():
    # Shapes are enough here: no memory, no initialisation.
    with torch.device("meta"):
        return WorldAgen(find_preset("calvin"))


def test_calvin_has_the_published_number_of_trainable_parameters(calvin):
    assert sum(p.numel() for p in calvin.parameters() if p.requires_grad) == 124_213_262


def test_calvin_parameters_by_module_equal_the_published_table(calvin):
    head = calvin.image_head
    assert {
        "vision encoder": parameters(calvin.vision),
        "clip text": parameters(calvin.text),
        "resampler": parameters(calvin.resampler),
        "text projector": parameters(calvin.text_projector),
        "arm": parameters(calvin.state_encoder.arm),
        "gripper": parameters(calvin.state_encoder.gripper),
        "state projector": parameters(calvin.state_encoder.join),
        "action encoder": parameters(calvin.action_encoder),
        "image projector": parameters(calvin.latent_projectors["static"]),
        "cls projector": parameters(calvin.cls_projectors["wrist"]),
        "obs tokens": calvin.image_tokens.numel(),
        "action token": calvin.action_tokens.numel(),
        "position": calvin.position.numel(),
        "embedding norm": parameters(calvin.input_norm),
        "backbone": parameters(calvin.backbone),
        "action decoder": parameters(calvin.action_head.trunk),
        "arm decoder": parameters(calvin.action_head.arm),
        "gripper decoder": parameters(calvin.action_head.gripper),
        "unused state decoders": parameters(calvin.state_head),
        "obs projector": parameters(head.project),
        "mask token": head.mask_token.numel(),
        "decoder positions": head.positions.numel(),
        "decoder blocks": parameters(head.blocks),
        "decoder norm": parameters(head.norm),
        "decoder output": parameters(head.paint),
    } == {
        "vision encoder": 85_798_656,
        "clip text": 63_428_096,
        "resampler": 18_894_336,
        "text projector": 196_992,
        "arm": 2_688,
        "gripper": 1_152,
        "state projector": 295_296,
        "action encoder": 299_136,
        "image projector": 295_296,
        "cls projector": 295_296,
        "obs tokens": 6_912,
        "action token": 384,
        "position": 384,
        "embedding norm": 768,
        "backbone": 99_115_776,
        "action decoder": 110_976,
        "arm decoder": 1_158,
        "gripper decoder": 193,
        "unused state decoders": 112_327,
        "obs projector": 147_840,
        "mask token": 384,
        "decoder positions": 78_720,
        "decoder blocks": 3_548_928,
        "decoder norm": 768,
        "decoder output": 295_680,
    }


def test_norms_have_the_published_epsilons(calvin):
    def epsilons(module):
        return {part.eps for part in module.modules() if isinstance(part, torch.nn.LayerNorm)}

    assert epsilons(calvin.vision) == {1e-6}
    assert epsilons(calvin.image_head) == epsilons(calvin.resampler) == epsilons(calvin.text) == {1e-5}
    assert calvin.backbone.model.norm.variance_epsilon == 1e-6


def test_playtable_is_small_enough_for_a_cpu():
    assert parameters(WorldAgen(find_preset("playtable"))) < 3_000_000
