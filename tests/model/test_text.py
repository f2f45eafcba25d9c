"""Instructions for the CLIP text tower: what is cut is said, and words are read as CLIP reads them."""

import logging

import pytest
import torch

from worldagen.network.config import TextConfig
from worldagen.network.text import ClipTextEncoder


@pytest.fixture(scope="module")
def encoder():
    return ClipTextEncoder(TextConfig("clip", width=64)).eval()


def test_an_instruction_within_the_context_is_read_without_a_word(encoder, caplog):
    assert encoder(["no lang", "open the drawer"]).shape == (2, 64)
    assert not caplog.records


def test_an_instruction_longer_than_the_context_is_cut_with_a_warning_that_says_what(encoder, caplog):
    short, longer = " ".join(["red"] * 75), " ".join(["red"] * 75) + " but never touch the glass"
    with caplog.at_level(logging.WARNING):
        features = encoder([short, longer])
    assert torch.equal(features[0], features[1])
    assert "80 tokens is longer than 75" in caplog.text
    assert "'but never touch the glass'" in caplog.text


def test_the_feature_is_taken_at_the_end_of_the_text(encoder):
    tokens = encoder.tokenizer(["open the drawer"])
    assert tokens.shape == (1, 77)
    assert (tokens[0, 0].item(), tokens[0, 4].item()) == (49406, 49407)
    padded = tokens.clone()
    padded[0, 5:] = 320  # what comes after the end does not matter
    torch.testing.assert_close(encoder.tower(padded), encoder.tower(tokens))


def test_the_tower_uses_quick_gelu(encoder):
    kinds = {type(module).__name__ for module in encoder.modules()}
    assert "QuickGELU" in kinds
    assert "GELU" not in kinds
