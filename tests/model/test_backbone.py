"""The backbones from transformers compute what the specification says, and our mask is their only mask."""

from dataclasses import replace

import pytest
import torch
from small_networks import TINY, build
from torch.nn import functional as F

from worldagen.network.backbone import Memory, build_backbone
from worldagen.network.config import BackboneConfig
from worldagen.network.layout import Group

HIDDEN = 32
CONFIGS = [BackboneConfig("qwen3", layers=2, heads=2, head_width=24), BackboneConfig("gpt2", layers=2, heads=2)]


def random_backbone(config):
    torch.manual_seed(0)
    backbone = build_backbone(config, HIDDEN).eval()
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return backbone


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_an_open_mask_lets_the_first_token_read_the_last_so_no_causal_triangle_is_added(config):
    backbone, tokens = random_backbone(config), torch.randn(1, 6, HIDDEN)
    everyone = torch.ones(6, 6, dtype=torch.bool)
    before = backbone(tokens, everyone, torch.arange(6))
    changed = tokens.clone()
    changed[0, 5] = torch.randn(HIDDEN)
    assert (backbone(changed, everyone, torch.arange(6))[0, 0] - before[0, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_a_closed_column_is_read_by_nobody_even_if_it_comes_earlier(config):
    backbone, tokens = random_backbone(config), torch.randn(1, 6, HIDDEN)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[:, 0] = False
    changed = tokens.clone()
    changed[0, 0] = torch.randn(HIDDEN)
    gap = backbone(changed, mask, torch.arange(6)) - backbone(tokens, mask, torch.arange(6))
    assert gap[0, 1:].abs().max() == 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_gradient_reaches_exactly_the_tokens_that_the_mask_of_a_window_allows_in_one_layer(config):
    network = build(replace(TINY, backbone=replace(config, layers=1)))
    length = network.layout.length
    tokens = torch.randn(1, length, TINY.hidden, requires_grad=True)
    hidden = network.attend(tokens, torch.arange(length))
    for row in (0, 1, 2, 7, 30, 43, 50, 90, length - 1):
        (gradient,) = torch.autograd.grad(hidden[0, row].square().sum(), tokens, retain_graph=True)
        reached = gradient[0].abs().sum(dim=1) > 0
        allowed = network.mask[row].clone()
        allowed[row] = True  # the residual
        assert torch.equal(reached, allowed), row


def test_qwen3_equals_the_formulas_of_the_specification():
    config = CONFIGS[0]
    backbone, tokens = random_backbone(config), torch.randn(2, 7, HIDDEN)
    mask = torch.rand(7, 7) > 0.4
    mask |= torch.eye(7, dtype=torch.bool)
    positions = torch.tensor([0, 1, 5, 6, 20, 21, 40])
    expected = written_out_qwen3(backbone.state_dict(), config, tokens, mask, positions)
    torch.testing.assert_close(backbone(tokens, mask, positions), expected, atol=1e-5, rtol=1e-5)


def test_gpt2_equals_the_formulas_of_the_specification():
    config = CONFIGS[1]
    backbone, tokens = random_backbone(config), torch.randn(2, 7, HIDDEN)
    mask = (torch.rand(7, 7) > 0.4) | torch.eye(7, dtype=torch.bool)
    expected = written_out_gpt2(backbone.state_dict(), config, tokens, mask)
    torch.testing.assert_close(backbone(tokens, mask, torch.arange(7)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_going_on_from_memory_equals_one_call(config):
    backbone, tokens = random_backbone(config), torch.randn(1, 9, HIDDEN)
    mask, positions = torch.ones(9, 9).tril().bool(), torch.tensor([0, 1, 2, 3, 9, 10, 11, 12, 30])
    memory = Memory()
    first = backbone(tokens[:, :5], mask[:5, :5], positions[:5], memory)
    then = backbone(tokens[:, 5:], mask[5:], positions[5:], memory)
    torch.testing.assert_close(torch.cat([first, then], dim=1), backbone(tokens, mask, positions))


def test_gpt2_gives_all_rows_of_a_chunk_the_same_action_when_they_share_a_token():
    network = build(replace(TINY, backbone=CONFIGS[1]))
    length = network.layout.length
    prompts = network.prediction_tokens()[Group.ACTION_PREDICTION]
    tokens = torch.randn(1, length, TINY.hidden)
    tokens[0, network.layout.indices(1, [Group.ACTION_PREDICTION])] = prompts
    chunk = network.attend(tokens, torch.arange(length))[0, network.layout.indices(1, [Group.ACTION_PREDICTION])]
    assert (chunk - chunk[0]).abs().max() < 1e-5


def test_dropping_tokens_keeps_every_position_and_renumbering_them_would_change_the_result():
    network = build(TINY)
    tokens = torch.randn(1, network.layout.length, TINY.hidden)
    whole = network.attend(tokens, torch.arange(network.layout.length))
    kept = torch.from_numpy(network.layout.group_of() != list(Group).index(Group.IMAGE_PREDICTION)).nonzero()[:, 0]
    pruned = network.attend(tokens[:, kept], kept)
    torch.testing.assert_close(pruned, whole[:, kept], atol=1e-5, rtol=1e-5)
    renumbered = network.backbone(tokens[:, kept], network.mask[kept][:, kept], torch.arange(len(kept)))
    assert (renumbered - whole[:, kept]).abs().max() > 1e-2


def written_out_qwen3(weights, config, x, mask, positions):
    """The layer formulas of section 2.2, from the weights alone."""
    width = config.head_width
    frequencies = config.rope_base ** (-torch.arange(0, width, 2) / width)
    angles = torch.cat([positions[:, None] * frequencies] * 2, dim=1)  # (T, width)

    def norm(x, weight):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight

    def turn(x):
        first, second = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()

    for layer in range(config.layers):
        part = {name.split(f"layers.{layer}.")[1]: w for name, w in weights.items() if f"layers.{layer}." in name}
        y = norm(x, part["input_layernorm.weight"])
        q, k, v = (
            (y @ part[f"self_attn.{name}_proj.weight"].T).unflatten(-1, (config.heads, width)).transpose(1, 2) for name in "qkv"
        )
        q, k = turn(norm(q, part["self_attn.q_norm.weight"])), turn(norm(k, part["self_attn.k_norm.weight"]))
        scores = (q @ k.transpose(-1, -2) * width**-0.5).masked_fill(~mask, float("-inf"))
        x = x + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2) @ part["self_attn.o_proj.weight"].T
        y = norm(x, part["post_attention_layernorm.weight"])
        gated = F.silu(y @ part["mlp.gate_proj.weight"].T) * (y @ part["mlp.up_proj.weight"].T)
        x = x + gated @ part["mlp.down_proj.weight"].T
    return norm(x, weights["model.norm.weight"])


def written_out_gpt2(weights, config, x, mask):
    """The block formulas of section 2.3, from the weights alone; linear weights are stored (in, out)."""
    hidden = x.shape[-1]

    def norm(x, part, name):
        return F.layer_norm(x, (hidden,), part[f"{name}.weight"], part[f"{name}.bias"], eps=1e-5)

    def linear(x, part, name):
        return x @ part[f"{name}.weight"] + part[f"{name}.bias"]

    for layer in range(config.layers):
        part = {name.split(f"model.h.{layer}.")[1]: w for name, w in weights.items() if f"model.h.{layer}." in name}
        qkv = linear(norm(x, part, "ln_1"), part, "attn.c_attn").chunk(3, dim=-1)
        q, k, v = (y.unflatten(-1, (config.heads, -1)).transpose(1, 2) for y in qkv)
        scores = (q @ k.transpose(-1, -2) * (hidden // config.heads) ** -0.5).masked_fill(~mask, float("-inf"))
        x = x + linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), part, "attn.c_proj")
        inner = F.gelu(linear(norm(x, part, "ln_2"), part, "mlp.c_fc"), approximate="tanh")
        x = x + linear(inner, part, "mlp.c_proj")
    return norm(x, weights, "model.ln_f")
