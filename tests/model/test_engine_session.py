"""A policy with an engine: the same decisions; torch where the engine fails or no longer fits; errors of torch as before."""

import numpy as np
import pytest
import torch
from engine_making import FailingEngine, ScaledEngine
from small_networks import TINY, build, random_observations

from worldagen.engines.encoder import TorchEngine
from worldagen.errors import BadChunk
from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.session import NetworkPolicy

CALVIN = PRESET_CONVENTIONS["calvin"]


def decisions(network, encoder=None, count=4):
    policy = NetworkPolicy(network, CALVIN, encoder=encoder)
    policy.reset("open the drawer")
    return policy, [policy.act(seen).rows for seen in random_observations(count)]


def test_torch_as_an_engine_gives_the_very_bits():
    network = build(TINY)
    assert np.array_equal(decisions(network)[1], decisions(network, TorchEngine(network))[1])


def test_the_engine_is_what_encodes():
    network = build(TINY)
    assert not np.array_equal(decisions(network)[1], decisions(network, ScaledEngine(network, 1.5))[1])


def test_a_failing_engine_is_left_once_between_two_chunks_and_no_decision_is_lost():
    network = build(TINY)
    engine = FailingEngine(network, works=2)
    policy, rows = decisions(network, engine)
    assert np.array_equal(rows, decisions(network)[1])
    assert engine.calls == 3  # two that worked and the one that failed; it is not asked again
    assert policy.encoder_fault == "failing: out of GPU memory; torch computes the encoder from now on"


def test_numbers_that_are_not_finite_count_as_a_failure():
    network = build(TINY)
    policy, rows = decisions(network, ScaledEngine(network, float("nan")))
    assert np.array_equal(rows, decisions(network)[1])
    assert "not finite" in policy.encoder_fault


def test_where_torch_fails_too_its_error_goes_up():
    network = build(TINY)
    with torch.no_grad():
        network.cls_projectors["static"].bias.fill_(float("nan"))
    with pytest.raises(BadChunk):
        decisions(network, FailingEngine(network, works=0))


class Loaded:
    """Stands in the place of an adapter on disk: an id, a verdict and weights."""

    def __init__(self, id, weights):
        self.id, self.verdict, self.weights = id, "accepted", weights


def adapted_policy(place, encoder_of):
    network = build(TINY)
    encoder = encoder_of(network)
    policy = NetworkPolicy(network, CALVIN, encoder=encoder)
    changed = dict(network.named_parameters())[place].data * 1.5
    policy.adapters.keep(Loaded("adapted", {place: changed}))  # type: ignore[arg-type]
    policy.reset("open the drawer")
    return policy, encoder


def test_an_adapter_that_changes_what_is_seen_is_computed_by_torch_while_it_is_active():
    policy, engine = adapted_policy("resampler.latents", lambda network: FailingEngine(network, works=100))
    seen = random_observations(3)
    policy.act(seen[0])
    assert engine.calls == 1
    policy.use_adapter("adapted")
    adapted = policy.act(seen[1]).rows
    assert engine.calls == 1
    plain, _ = adapted_policy("resampler.latents", lambda _: None)
    plain.use_adapter("adapted")
    assert np.array_equal(adapted, plain.act(seen[1]).rows)
    policy.use_adapter("")
    policy.act(seen[2])
    assert engine.calls == 2 and policy.encoder_fault == ""


def test_an_adapter_of_the_backbone_leaves_the_engine_in_place():
    place = next(name for name, _ in build(TINY).named_parameters() if name.startswith("backbone.") and "proj" in name)
    policy, engine = adapted_policy(place, lambda network: FailingEngine(network, works=100))
    policy.use_adapter("adapted")
    policy.act(random_observations(1)[0])
    assert engine.calls == 1
