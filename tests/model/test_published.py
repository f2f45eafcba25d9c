"""The authors' checkpoints come in whole, or not at all, and no code of theirs is ever run."""

import os
import pickle
import re
from dataclasses import replace

import peft
import pytest
import torch
from small_networks import TINY, build

from worldagen.errors import CheckpointError
from worldagen.network.config import BackboneConfig, TextConfig, VisionConfig, find_preset
from worldagen.network.published_names import NAMES, our_name
from worldagen.network.worldagen import WorldAgen
from worldagen.published import WindowShape, import_published, read_clip

PUBLISHED = replace(
    TINY,
    hidden=48,
    units=2,
    frames=1,
    rows=3,
    backbone=BackboneConfig(layers=2, heads=2, head_width=128),
    vision=VisionConfig("vit", width=96),
    text=TextConfig("clip", width=64),
    resampler=replace(TINY.resampler, heads=2, head_width=64),
    image_head=replace(TINY.image_head, heads=16, size=224, patch=16),
)

# Section 11 of the specification, one line per row of its table.
PUBLISHED_TENSORS = """
action_pred_token [1,1,1,384]
obs_tokens [1,1,18,384]
transformer_backbone_position_embedding [1,1,1,384]
mask_token [1,1,384]
text_projector.weight [384,512]
text_projector.bias [384]
arm_state_encoder.weight [384,6]
action_pose_encoder.bias [384]
gripper_state_encoder.weight [384,2]
action_gripper_position_encoder.weight [384,2]
state_projector.weight [384,768]
action_projector.bias [384]
image_primary_projector.weight [384,768]
image_wrist_projector.weight [384,768]
cls_token_primary_projector.weight [384,768]
cls_token_wrist_projector.bias [384]
perceiver_resampler.latents [6,768]
perceiver_resampler.layers.2.0.norm_media.weight [768]
perceiver_resampler.layers.0.0.norm_latents.bias [768]
perceiver_resampler.layers.1.0.to_q.weight [512,768]
perceiver_resampler.layers.1.0.to_kv.weight [1024,768]
perceiver_resampler.layers.1.0.to_out.weight [768,512]
perceiver_resampler.layers.0.1.0.weight [768]
perceiver_resampler.layers.0.1.1.weight [3072,768]
perceiver_resampler.layers.0.1.3.weight [768,3072]
perceiver_resampler.norm.bias [768]
embedding_layer_norm.weight [384]
transformer_backbone.embed_tokens.weight [1,384]
transformer_backbone.layers.23.self_attn.q_proj.weight [1536,384]
transformer_backbone.layers.0.self_attn.o_proj.weight [384,1536]
transformer_backbone.layers.0.self_attn.k_norm.weight [128]
transformer_backbone.layers.0.mlp.gate_proj.weight [1536,384]
transformer_backbone.layers.0.mlp.down_proj.weight [384,1536]
transformer_backbone.layers.0.post_attention_layernorm.weight [384]
transformer_backbone.norm.weight [384]
action_decoder.0.weight [192,384]
state_decoder.2.weight [192,192]
arm_action_decoder.0.weight [6,192]
arm_state_decoder.0.bias [6]
gripper_action_decoder.0.weight [1,192]
gripper_state_decoder.0.bias [1]
image_decoder_obs_pred_projector.weight [384,384]
image_decoder.0.norm1.weight [384]
image_decoder.1.attn.qkv.weight [1152,384]
image_decoder.1.attn.proj.bias [384]
image_decoder.0.mlp.fc1.weight [1536,384]
image_decoder.0.mlp.fc2.weight [384,1536]
image_decoder_norm.bias [384]
image_decoder_pred.weight [768,384]
vision_encoder.patch_embed.proj.weight [768,3,16,16]
vision_encoder.blocks.11.attn.qkv.weight [2304,768]
vision_encoder.norm.weight [768]
clip_model.text_projection [512,512]
clip_model.transformer.resblocks.0.attn.in_proj_weight [1536,512]
"""


def test_every_published_name_is_one_of_our_tensors_of_that_shape():
    with torch.device("meta"):
        ours = WorldAgen(find_preset("calvin")).state_dict()
    for line in PUBLISHED_TENSORS.strip().splitlines():
        name, shape = line.split()
        wanted = [int(size) for size in re.findall(r"\d+", shape)]
        squeezed = [size for size in wanted if size > 1]
        assert [size for size in ours[our_name(name)].shape if size > 1] == squeezed, name


def test_the_trainable_part_of_calvin_has_as_many_tensors_as_a_published_checkpoint():
    with torch.device("meta"):
        network = WorldAgen(find_preset("calvin"))
    assert sum(parameter.requires_grad for parameter in network.parameters()) == 376


def their_name(ours):
    """Our name -> theirs, by trying the table backwards; names of learned vectors are whole."""
    for theirs, start in sorted(NAMES.items(), key=lambda item: -len(item[1])):
        found = re.fullmatch(re.escape(start).replace(r"\{i\}", r"(\d+)") + r"((?:\..+)?)", ours)
        if found:
            *numbers, rest = found.groups()
            return theirs.format(i=numbers[0] if numbers else "") + rest
    raise AssertionError(ours)


def their_tensors(network):
    """A network's state under the authors' names and with their leading axes."""
    leading = {"action_tokens": 2, "image_tokens": 2, "position": 3, "image_head.mask_token": 2, "state_token": 3}
    state = {}
    for name, tensor in network.state_dict().items():
        state["module." + their_name(name)] = tensor.reshape(*[1] * leading.get(name, 0), *tensor.shape).clone()
    mask = torch.zeros(network.mask.shape).masked_fill(~network.mask, float("-inf"))
    return {**state, "module.attention_mask": mask}


def split(state):
    """(what a training checkpoint holds, an MAE file, a CLIP file)."""
    trained = {n: t for n, t in state.items() if not n.startswith(("module.vision_encoder", "module.clip_model"))}
    mae = {n.removeprefix("module.vision_encoder."): t for n, t in state.items() if n.startswith("module.vision_encoder.")}
    clip = {n.removeprefix("module.clip_model."): t for n, t in state.items() if n.startswith("module.clip_model.")}
    return trained, mae, clip


@pytest.fixture(scope="module")
def network():
    return build(PUBLISHED, seed=1)


@pytest.fixture
def files(tmp_path, network):
    trained, mae, clip = split(their_tensors(network))
    mae |= {"decoder_embed.weight": torch.zeros(4, 4), "mask_token": torch.zeros(1, 1, 4)}
    clip |= {"visual.proj": torch.zeros(2, 2), "logit_scale": torch.zeros(())}
    torch.save({"epoch": 16, "model_state_dict": trained, "optimizer_state_dict": {"state": {}}}, tmp_path / "theirs.pth")
    torch.save({"model": mae}, tmp_path / "mae.pth")
    torch.save(clip, tmp_path / "clip.pt")
    return tmp_path


def import_files(folder, **options):
    return import_published(folder / "theirs.pth", folder / "mae.pth", folder / "clip.pt", **options)


def same(a, b):
    theirs = b.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in a.state_dict().items())


def test_a_training_checkpoint_is_imported_whole_and_tells_what_it_is(files, network):
    imported, report = import_files(files)
    assert same(imported, network)
    assert report.network == replace(PUBLISHED, image_head=replace(PUBLISHED.image_head))
    assert set(report.unused) == {
        "attention_mask",
        "vision_encoder.decoder_embed.weight",
        "vision_encoder.mask_token",
        "clip_model.visual.proj",
        "clip_model.logit_scale",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"units": 3, "rows": 5},
        {"frames": 2, "rows": 4},
        {"goal_attention": True},
        {"image_prediction": False},
        {"state_prediction": True, "action_steps": 2},
        {"backbone": BackboneConfig("gpt2", layers=3, heads=12)},
    ],
)
def test_options_are_read_off_the_file(tmp_path, change):
    config = replace(PUBLISHED, **change)
    network = build(config)
    state = their_tensors(network)
    torch.save({"model_state_dict": state}, tmp_path / "full.pth")
    imported, report = import_published(tmp_path / "full.pth")
    if not config.image_prediction:  # nothing paints, so nothing is known of the painter
        config = replace(config, image_head=report.network.image_head)
    assert report.network == config
    assert same(imported, network)


def test_weights_of_the_encoders_may_be_in_timms_and_open_clips_forms(files, network):
    _, mae, clip = split(their_tensors(network))
    torch.save(mae, files / "mae.pth")
    torch.save({"state_dict": {f"module.text.{name}": tensor for name, tensor in clip.items()}}, files / "clip.pt")
    assert same(import_files(files)[0], network)


@pytest.mark.parametrize("kind", ["qwen3", "gpt2"])
def test_an_adapted_checkpoint_is_imported_with_its_adapter_folded_in(tmp_path, kind):
    backbone = replace(PUBLISHED.backbone, kind=kind, heads=12 if kind == "gpt2" else 2)
    network = build(replace(PUBLISHED, backbone=backbone, image_head=PUBLISHED.image_head))
    targets = {"qwen3": ["q_proj", "o_proj", "up_proj", "down_proj"], "gpt2": ["c_attn", "c_proj", "c_fc"]}[kind]
    lora = peft.LoraConfig(r=4, lora_alpha=8, target_modules=targets, fan_in_fan_out=kind == "gpt2")
    adapted = peft.get_peft_model(network.backbone.model, lora).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tokens, mask, places = torch.randn(1, 6, 48), torch.ones(6, 6, dtype=torch.bool), torch.arange(6)
    expected = network.backbone(tokens, mask, places)

    state = {name: tensor for name, tensor in their_tensors(network).items() if "transformer_backbone." not in name}
    for name, tensor in adapted.state_dict().items():
        state[f"module.transformer_backbone.{name}"] = tensor
    settings = {"lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0, "lora_mode": "lora"}
    torch.save({"model_state_dict": state, "model_config": settings}, tmp_path / "adapted.pth")
    imported, report = import_published(tmp_path / "adapted.pth")
    assert report.lora_layers == 8  # four in each of two layers
    torch.testing.assert_close(imported.backbone(tokens, mask, places), expected, atol=1e-5, rtol=1e-5)


def test_what_is_missing_unexpected_or_of_another_shape_is_named(files):
    content = torch.load(files / "theirs.pth", weights_only=True)
    state = content["model_state_dict"]
    del state["module.text_projector.bias"]
    state["module.extra_head.weight"] = torch.zeros(2, 2)
    state["module.image_decoder_norm.weight"] = torch.zeros(7)
    torch.save(content, files / "theirs.pth")
    with pytest.raises(CheckpointError) as refusal:
        import_files(files)
    text = str(refusal.value)
    assert "missing: text_projector.bias [48]" in text
    assert "unexpected: extra_head.weight [2, 2]" in text
    assert "shape of image_head.norm.weight: found (7,), expected (48,)" in text


@pytest.mark.parametrize(("name", "option"), [("vision_encoder", "--mae"), ("clip_model", "--clip")])
def test_a_training_checkpoint_needs_the_frozen_encoders(files, name, option):
    others = {"mae": files / "mae.pth", "clip": files / "clip.pt"}
    del others[option.removeprefix("--")]
    with pytest.raises(CheckpointError, match=f"has no {name}.*{option}"):
        import_published(files / "theirs.pth", **others)


def test_without_its_mask_a_file_needs_to_be_told_the_window(files, network):
    content = torch.load(files / "theirs.pth", weights_only=True)
    del content["model_state_dict"]["module.attention_mask"]
    torch.save(content, files / "theirs.pth")
    with pytest.raises(CheckpointError, match="--units"):
        import_files(files)
    assert same(import_files(files, window=WindowShape(units=2, frames=1, rows=3))[0], network)


def test_a_mask_that_is_not_ours_is_refused(files):
    content = torch.load(files / "theirs.pth", weights_only=True)
    content["model_state_dict"]["module.attention_mask"][0, 5] = 0
    torch.save(content, files / "theirs.pth")
    with pytest.raises(CheckpointError, match="of no layout we know"):
        import_files(files)


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, form):
    path, trace = tmp_path / "theirs.pth", tmp_path / "ran"
    content = {"model_state_dict": {"module.text_projector.weight": Malicious(trace)}}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match=r"theirs\.pth"):
        import_published(path)
    assert not trace.exists()


def test_a_program_is_opened_only_if_it_is_openais_own(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "clip.pt"))
    with pytest.raises(CheckpointError, match="TorchScript program"):
        read_clip(tmp_path / "clip.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "theirs.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"theirs\.pth"):
        import_published(path)


def test_a_checkpoint_cut_short_is_refused(files):
    path = files / "theirs.pth"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"theirs\.pth"):
        import_files(files)
