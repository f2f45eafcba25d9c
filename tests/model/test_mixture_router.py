"""The router of an episode: when it looks, when it rests, and that nothing of one episode reaches into the next."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import TINY, build

from worldagen.errors import BankError
from worldagen.mixture.embedding import FIRST_FRAMES, LEVELS, Embedding
from worldagen.mixture.graph import GraphEmbedder, grid_neighbours, pass_messages
from worldagen.mixture.prototypes import BASE
from worldagen.mixture.refinement import RefinementConfig
from worldagen.mixture.router import BEGIN, REQUEST, SURPRISE, Router
from worldagen.mixture.routing import Places, RoutingConfig, route
from worldagen.mixture.whitening import Whitening

PLAIN = Whitening(tuple(np.zeros(3) for _ in LEVELS), tuple(np.eye(3) for _ in LEVELS))
PLACES = Places((BASE, "kitchen", "shed"), tuple(np.eye(3) for _ in LEVELS), PLAIN, 0.5)
CONFIG = RoutingConfig(route="mixture", active=1)
KITCHEN, SHED, NOWHERE = ([0.0, 1.0, 0.1], [0.0, 0.1, 1.0], [-1.0, -1.0, -1.0])


def frame(numbers: list[float]) -> Embedding:
    return Embedding(tuple(np.array(numbers) for _ in LEVELS))


def nearest(router: Router, numbers: list[float], times: int = 1) -> list[str]:
    """Who holds the most weight at the scene level, decision by decision."""
    told = [router.see(frame(numbers)) for _ in range(times)]
    return [one.names[int(np.argmax(one.weights[-1]))] for one in told if one is not None]


def test_it_looks_at_the_beginning_and_then_rests():
    router = Router(PLACES, CONFIG)
    assert router.looking
    assert nearest(router, KITCHEN, 20) == ["kitchen"] * 20
    assert not router.looking
    assert nearest(router, SHED, 20) == ["kitchen"] * 20  # the arm moves, the place does not
    assert router.see(None).why == BEGIN


@pytest.mark.parametrize("why", [SURPRISE, REQUEST])
def test_asked_to_look_again_it_finds_another_place_late_and_by_and_by(why):
    router = Router(PLACES, CONFIG)
    nearest(router, KITCHEN, 20)
    router.look(why)
    told = [router.see(frame(SHED)) for _ in range(FIRST_FRAMES + CONFIG.patience)]
    shares = [round(float(one.weights[-1][2]), 3) for one in told]
    assert shares == [0, 0, 0, 0.333, 0.667, 1, 1, 1, 1, 1, 1]
    assert told[0].why == why and told[0].looking and not told[-1].looking


def test_before_the_first_frame_there_is_nothing_to_mix_by():
    router = Router(PLACES, CONFIG)
    assert router.see(None) is None and router.looking


def test_an_unknown_place_leaves_the_base_alone():
    told = Router(PLACES, CONFIG).see(frame(NOWHERE))
    assert told.routing.abstains and np.array_equal(told.weights, [[1, 0, 0]] * 3)


def test_a_frame_of_another_encoder_is_refused_and_what_held_goes_on():
    router = Router(PLACES, CONFIG)
    router.see(frame(KITCHEN))
    with pytest.raises(BankError, match="it comes from another encoder"):
        router.see(Embedding(tuple(np.zeros(4) for _ in LEVELS)))
    assert nearest(router, KITCHEN) == ["kitchen"]


def test_refinement_lasts_as_long_as_an_episode():
    router = Router(PLACES, replace(CONFIG, active=3), RefinementConfig("safe", most_entropy=1.0))
    before = [level.copy() for level in PLACES.anchors]
    for _ in range(5):
        router.see(frame([0.3, 1.0, 0.8]))
    assert not np.array_equal(router.places.anchors[0], before[0])
    router.begin()
    assert router.places is PLACES and all(np.array_equal(a, b) for a, b in zip(PLACES.anchors, before, strict=True))


def test_the_same_frames_give_the_same_decisions_to_the_bit():
    frames = [frame(list(numbers)) for numbers in np.random.default_rng(0).normal(size=(30, 3))]
    runs = []
    for _ in range(2):
        router = Router(PLACES, replace(CONFIG, active=3))
        told = []
        for place, seen in enumerate(frames):
            if place == 15:
                router.look(SURPRISE)
            told.append(router.see(seen).weights.tobytes())
        runs.append(told)
    assert runs[0] == runs[1] and len(set(runs[0])) > 1


def test_places_can_be_weighed_alike_whatever_is_seen():
    alike = replace(CONFIG, route="uniform")
    far = replace(PLACES, least=2.0)  # nothing is near, but it does not abstain
    assert np.array_equal(route(frame(KITCHEN), far, alike).weights, [[0, 0.5, 0.5]] * 3)
    alone = replace(PLACES, names=(BASE,), anchors=tuple(level[:1] for level in PLACES.anchors))
    assert np.array_equal(route(frame(KITCHEN), alone, alike).weights, [[1]] * 3)


def test_messages_reach_neighbours_and_nobody_else():
    reachable = grid_neighbours(9)
    assert reachable.sum(dim=1).tolist() == [4, 6, 4, 6, 9, 6, 4, 6, 4]
    nodes = torch.randn(1, 9, 5, generator=torch.Generator().manual_seed(0))
    moved = nodes.clone()
    moved[0, 8] += 1.0
    change = (pass_messages(moved, reachable) - pass_messages(nodes, reachable)).abs().amax(dim=-1)[0]
    # Only directions are compared with the mean of all, which moves a little; a node that hears the moved one moves most.
    assert change[8] > 0.1 and change[0] < 0.1 * change[8]
    with pytest.raises(BankError, match="8 patches are no square grid"):
        grid_neighbours(8)


def test_messages_keep_what_all_patches_share():
    nodes = torch.ones(2, 16, 3)
    assert torch.allclose(pass_messages(nodes, grid_neighbours(16)), nodes)


def test_the_graph_tells_pictures_apart_at_three_levels():
    network = build(TINY)
    embedder = GraphEmbedder(network)
    side = network.config.vision.static_size
    pictures = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    one, again, two = embedder.embed(torch.stack([pictures[0], pictures[0], pictures[1]]))
    assert one.widths == (network.config.vision.width,) * 3
    for level in range(len(LEVELS)):
        assert np.array_equal(one.levels[level], again.levels[level])
        assert not np.allclose(one.levels[level], two.levels[level], atol=1e-4)
