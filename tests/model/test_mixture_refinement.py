"""Refinement of prototypes: as published it collapses; the safe form stays where it may be."""

from dataclasses import replace

import numpy as np
import pytest

from worldagen.mixture.embedding import LEVELS, Embedding
from worldagen.mixture.prototypes import BASE
from worldagen.mixture.refinement import RefinementConfig, refine
from worldagen.mixture.routing import Places, RoutingConfig, route
from worldagen.mixture.whitening import Whitening, unit

WIDTH, NAMES = 6, (BASE, "a", "b", "c")
PLAIN = Whitening(tuple(np.zeros(WIDTH) for _ in LEVELS), tuple(np.eye(WIDTH) for _ in LEVELS))
ROUTING = RoutingConfig(route="mixture")


@pytest.fixture
def places() -> Places:
    rng = np.random.default_rng(3)
    rows = np.stack([unit(row) for row in rng.normal(size=(len(NAMES), WIDTH)) + 1.0])
    return Places(NAMES, tuple(rows.copy() for _ in LEVELS), PLAIN, -1.0)


@pytest.fixture
def seen() -> Embedding:
    return Embedding(tuple(np.ones(WIDTH) for _ in LEVELS))


def likeness(places: Places) -> np.ndarray:
    """(L,) smallest cosine of two prototypes."""
    return np.array([(rows @ rows.T / np.outer(*[np.linalg.norm(rows, axis=1)] * 2)).min() for rows in places.anchors])


def repeat(seen, places, config, times=100):
    now, saturated = places, 0
    for _ in range(times):
        refined = refine(seen, now, places, config, ROUTING)
        now, saturated = refined.places, saturated + refined.saturated
    return now, saturated


def test_as_published_all_prototypes_become_one(places, seen):
    assert likeness(places).max() < 0.9
    collapsed, _ = repeat(seen, places, RefinementConfig("paper"))
    assert likeness(collapsed).min() > 0.999
    assert route(seen, collapsed, replace(ROUTING, active=4)).entropy.min() > np.log(4) - 1e-3  # and routing is flat


def test_the_safe_form_stays_within_its_bound_of_the_anchors(places, seen):
    config = RefinementConfig("safe", most_entropy=1.0, most_drift=0.1)
    refined, _ = repeat(seen, places, config)
    assert likeness(refined).max() < 0.999
    for rows, anchors in zip(refined.anchors, places.anchors, strict=True):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1)
        drift = 1 - (rows * anchors).sum(axis=1)
        assert drift.max() <= 0.1 + 1e-9 and drift.max() > 0.05  # it did move


def test_a_step_that_would_make_routing_flat_is_discarded_and_told(places, seen):
    refined, saturated = repeat(seen, places, RefinementConfig("safe", most_entropy=0.01), times=5)
    assert saturated == 5
    assert all(np.array_equal(one, other) for one, other in zip(refined.anchors, places.anchors, strict=True))


def test_the_anchors_are_never_changed(places, seen):
    before = [rows.copy() for rows in places.anchors]
    for form in ("safe", "paper"):
        repeat(seen, places, RefinementConfig(form))
    assert all(np.array_equal(one, other) for one, other in zip(before, places.anchors, strict=True))


def test_a_prototype_that_points_away_is_left_alone_by_the_safe_form_only():
    rows = np.stack([unit(np.array(row, dtype=float)) for row in ([1, 0, 0], [-1, 0.5, 0], [-1, -0.5, 0])])
    white = Whitening(tuple(np.zeros(3) for _ in LEVELS), tuple(np.eye(3) for _ in LEVELS))
    places = Places((BASE, "a", "b"), tuple(rows.copy() for _ in LEVELS), white, -1.0)
    seen = Embedding(tuple(np.array([1.0, 0, 0]) for _ in LEVELS))
    safe = refine(seen, places, places, RefinementConfig("safe", most_entropy=1.0), ROUTING).places.anchors[0]
    paper = refine(seen, places, places, RefinementConfig("paper"), ROUTING).places.anchors[0]
    assert np.allclose(safe[1:], rows[1:]) and not np.allclose(paper[1:], rows[1:], atol=1e-3)


def test_off_is_off(places, seen):
    assert refine(seen, places, places, RefinementConfig(), ROUTING).places is places
