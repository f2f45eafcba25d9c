"""Which places are mixed, and how: the router's arithmetic, and how its weights hold from decision to decision."""

from dataclasses import replace

import numpy as np
import pytest

from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, Embedding
from worldagen.mixture.prototypes import BASE, prototype_of
from worldagen.mixture.routing import (
    SCENE,
    HeldRoute,
    Places,
    Routing,
    RoutingConfig,
    entropy_of,
    most_entropy,
    route,
    route_cosines,
    whiten_places,
)
from worldagen.mixture.whitening import Whitening

WIDTH = 4
PLAIN = Whitening(tuple(np.zeros(WIDTH) for _ in LEVELS), tuple(np.eye(WIDTH) for _ in LEVELS))
MIXTURE = RoutingConfig(route="mixture")


def seen(*numbers: float) -> Embedding:
    """The same vector at every level."""
    return Embedding(tuple(np.array(numbers, dtype=float) for _ in LEVELS))


def places_of(*vectors: tuple[float, ...], names: tuple[str, ...] = ("one", "two", "three"), least: float = -1.0) -> Places:
    """The base first."""
    rows = np.array(vectors, dtype=float)
    return Places((BASE, *names[: len(vectors) - 1]), tuple(rows.copy() for _ in LEVELS), PLAIN, least)


def test_with_one_active_the_place_that_is_seen_has_all_the_weight():
    places = places_of((0, 0, 0, 1), (1, 0, 0, 0), (0, 1, 0, 0))
    routing = route(seen(1, 0, 0, 0), places, replace(MIXTURE, active=1))
    assert np.array_equal(routing.weights, [[0, 1, 0]] * 3)
    assert routing.nearest == "one" and routing.best == 1 and not routing.abstains


def test_two_active_share_by_the_softmax_of_their_cosines():
    places = places_of((-1, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0))
    routing = route(seen(3, 4, 0, 0), places, replace(MIXTURE, active=2, temperature=0.1))
    ours = 1 / (1 + np.exp((0.6 - 0.8) / 0.1))  # of the cosines 0.6 and 0.8
    assert np.allclose(routing.weights, [[0, 1 - ours, ours]] * 3, atol=1e-12)
    assert np.allclose(routing.entropy, -(ours * np.log(ours) + (1 - ours) * np.log(1 - ours)))


def test_the_base_is_one_of_the_places():
    routing = route(seen(1, 0, 0, 0), places_of((1, 0, 0, 0), (0, 1, 0, 0)), replace(MIXTURE, active=1))
    assert routing.nearest == BASE and not routing.abstains


def test_fewer_places_than_may_be_active_and_no_place_at_all():
    assert route(seen(1, 0, 0, 0), places_of((0, 0, 0, 1), (1, 0, 0, 0)), replace(MIXTURE, active=5)).weights.shape == (3, 2)
    alone = route(seen(1, 0, 0, 0), places_of((0, 1, 0, 0)), MIXTURE)
    assert np.array_equal(alone.weights, [[1], [1], [1]])


def test_places_in_another_order_have_the_same_weights():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, WIDTH))
    one = places_of(*rows)
    order = [0, 3, 1, 2]
    other = Places(tuple(one.names[place] for place in order), tuple(level[order] for level in one.anchors), PLAIN, -1.0)
    embedding = Embedding(tuple(rng.normal(size=WIDTH) for _ in LEVELS))
    for active in (1, 2, 3, 9):
        straight, turned = (route(embedding, places, replace(MIXTURE, active=active)) for places in (one, other))
        assert np.array_equal(straight.weights[:, order], turned.weights)


def test_of_equals_the_first_by_name_is_taken_however_they_are_ordered():
    cosines = np.full((3, 4), 0.5)
    for names in ((BASE, "a", "b", "c"), (BASE, "c", "b", "a")):
        weights = route_cosines(cosines, names, -1.0, replace(MIXTURE, active=2)).weights
        assert {name for name, weight in zip(names, weights[0], strict=True) if weight} == {BASE, "a"}


def test_nearest_is_one_place_at_all_levels():
    cosines = np.array([[0.0, 0.9, 0.1], [0.0, 0.5, 0.6], [0.0, 0.5, 0.6]])  # means: 0.63 and 0.43
    weights = route_cosines(cosines, (BASE, "one", "two"), -1.0, replace(MIXTURE, route="nearest")).weights
    assert np.array_equal(weights, [[0, 1, 0]] * 3)


def test_where_nothing_is_near_the_base_is_left_alone():
    places = places_of((0, 0, 0, 1), (1, 0, 0, 0), least=0.5)
    routing = route(seen(0.3, 1, 0, 0), places, MIXTURE)
    assert routing.abstains and np.array_equal(routing.weights, [[1, 0]] * 3)
    assert not route(seen(1, 0.3, 0, 0), places, MIXTURE).abstains


def test_off_is_the_base_whatever_is_seen():
    routing = route(seen(1, 0, 0, 0), places_of((0, 1, 0, 0), (1, 0, 0, 0)), RoutingConfig(route="off"))
    assert np.array_equal(routing.weights, [[1, 0]] * 3)


def test_the_same_frame_and_bank_give_the_same_routing_to_the_bit():
    places = places_of(*np.random.default_rng(1).normal(size=(4, WIDTH)))
    one, two = (route(seen(0.1, 0.2, 0.3, 0.4), places, MIXTURE) for _ in range(2))
    assert one.weights.tobytes() == two.weights.tobytes() and one.cosines.tobytes() == two.cosines.tobytes()


def test_an_embedding_of_another_encoder_is_refused():
    with pytest.raises(BankError, match=r"an embedding of \[5, 5, 5\] numbers, the whitening is of \[4, 4, 4\]"):
        route(seen(1, 0, 0, 0, 0), places_of((1, 0, 0, 0)), MIXTURE)
    with pytest.raises(BankError, match=r"place 'kitchen': an embedding of \[5, 5, 5\] numbers"):
        whiten_places(prototype_of([seen(1, 0, 0, 0)]), [("kitchen", prototype_of([seen(1, 0, 0, 0, 0)]))], PLAIN, 0.0)
    with pytest.raises(BankError, match="places are called base, base"):
        whiten_places(prototype_of([seen(1, 0, 0, 0)]), [(BASE, prototype_of([seen(1, 0, 0, 0)]))], PLAIN, 0.0)


def test_entropy_is_zero_for_one_and_the_logarithm_for_all_alike():
    assert entropy_of(np.array([0.0, 1.0])) == 0
    assert np.isclose(entropy_of(np.full(3, 1 / 3)), most_entropy(3))


def routing_of(one: float, two: float, least: float = -1.0) -> Routing:
    """One place against another, K = 1: who leads has all the weight."""
    return route_cosines(np.array([[-1.0, one, two]] * 3), (BASE, "one", "two"), least, replace(MIXTURE, active=1))


def test_the_first_routing_is_taken_at_once():
    held = HeldRoute(MIXTURE)
    assert held.weights is None and held.offer(routing_of(0.9, 0.1))
    assert np.array_equal(held.weights, [[0, 1, 0]] * 3) and not held.advance()


def test_another_place_takes_over_when_it_has_led_by_enough_three_times_in_a_row_and_then_by_and_by():
    held = HeldRoute(MIXTURE)
    held.offer(routing_of(0.6, 0.5))
    close, clear = routing_of(0.6, 0.64), routing_of(0.6, 0.66)
    assert [held.offer(one) for one in (close, clear, clear, close, clear, clear)] == [False] * 6  # never three in a row
    assert held.offer(clear)
    assert np.array_equal(held.weights, [[0, 1, 0]] * 3)  # of the decision that comes; then they move
    told = []
    while held.advance():
        told.append(held.weights[SCENE].copy())
    assert np.allclose(told, [[0, 2 / 3, 1 / 3], [0, 1 / 3, 2 / 3], [0, 0, 1]]) and np.array_equal(told[-1], [0, 0, 1])


def test_between_two_decisions_no_weight_moves_by_more_than_its_share():
    rng = np.random.default_rng(2)
    held = HeldRoute(replace(MIXTURE, slew=4))
    names = (BASE, "one", "two", "three")
    held.offer(route_cosines(rng.uniform(-1, 1, (3, 4)), names, -1.0, MIXTURE))
    before = held.weights
    for _ in range(200):
        held.offer(route_cosines(rng.uniform(-1, 1, (3, 4)), names, -0.2, MIXTURE))
        held.advance()
        assert np.abs(held.weights - before).max() <= 1 / 4 + 1e-12
        assert np.allclose(held.weights.sum(axis=1), 1) and (held.weights > -1e-12).all()
        before = held.weights


def test_abstention_needs_no_patience_and_coming_back_does():
    held = HeldRoute(MIXTURE)
    held.offer(routing_of(0.9, 0.1))
    assert held.offer(routing_of(0.3, 0.2, least=0.5)) and held.routing.abstains
    back = routing_of(0.9, 0.1)
    assert [held.offer(back) for _ in range(3)] == [False, False, True]


def test_other_places_in_mid_episode_are_refused():
    held = HeldRoute(MIXTURE)
    held.offer(routing_of(0.9, 0.1))
    with pytest.raises(BankError, match="routed by the places base, one after base, one, two; begin an episode"):
        held.offer(route_cosines(np.zeros((3, 2)), (BASE, "one"), -1.0, MIXTURE))
    held.clear()
    assert held.offer(route_cosines(np.zeros((3, 2)), (BASE, "one"), -1.0, MIXTURE))
