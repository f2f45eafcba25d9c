"""Whitened by what varies within places, and with the places the base knows, frames are told from each other and from noise."""

import numpy as np
import pytest

from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, Embedding
from worldagen.mixture.prototypes import prototype_of
from worldagen.mixture.refinement import RefinementConfig, refine
from worldagen.mixture.routing import RoutingConfig, cosines_of, route, whiten_places
from worldagen.mixture.whitening import fit_whitening

MIXTURE = RoutingConfig(route="mixture")
WIDTH, PLACES = 24, 5


def frames_of(place: int, count: int = 40, seed: int = 0) -> list[Embedding]:
    """Near each other, far from the origin and from no other place, as frames of an encoder are; axes vary unequally."""
    spread = np.geomspace(1.0, 0.02, WIDTH)
    rng = np.random.default_rng([place, seed, 7])
    centre = 10.0 + 2 * spread * np.random.default_rng(place).normal(size=WIDTH)
    return [Embedding(tuple(centre + spread * rng.normal(size=WIDTH) for _ in LEVELS)) for _ in range(count)]


@pytest.fixture(scope="module")
def places():
    return [frames_of(place) for place in range(PLACES)]


@pytest.fixture(scope="module")
def whitening(places):
    return fit_whitening([f for place in places for f in place], [n for n, place in enumerate(places) for _ in place])


def cosines_within(whitening, places) -> tuple[float, float]:
    """Mean scene cosines of new frames with the prototype of their own place, and with the others'."""
    anchors = np.stack([whitening(prototype_of(place).mean)[2] for place in places])
    own, other = [], []
    for number in range(PLACES):
        for frame in frames_of(number, seed=1):
            cosines = cosines_of(anchors, whitening(frame)[2])
            own.append(cosines[number])
            other += np.delete(cosines, number).tolist()
    return float(np.mean(own)), float(np.mean(other))


def test_whitened_within_places_frames_are_near_their_own(places, whitening):
    everything = fit_whitening([frame for place in places for frame in place])
    (own, other), (blurred, _) = cosines_within(whitening, places), cosines_within(everything, places)
    assert own - other > 0.9 and blurred < own - 0.1, (own, other, blurred)


def test_within_places_it_is_white(places, whitening):
    for level in range(len(LEVELS)):
        spread = [np.stack([whitening.matrices[level] @ frame.levels[level] for frame in place]) for place in places]
        covariance = np.mean([np.cov(vectors.T, bias=True) for vectors in spread], axis=0)
        assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.2
        assert np.diag(covariance)[:8] == pytest.approx(np.ones(8), abs=0.1)  # shrinking leaves rare directions small
        assert np.diag(covariance).max() < 1.1


def test_the_very_mean_has_no_direction_however_it_was_summed_up(places, whitening):
    joined = prototype_of(places[0])
    for place in places[1:]:
        joined = joined.joined(prototype_of(place))
    assert all((vector == 0).all() for vector in whitening(joined.mean))


@pytest.mark.parametrize(
    ("count", "numbers", "told"),
    [(15, (), "15 frames to whiten by"), (20, (0, 1), "2 places of 20 frames; expected one of each")],
)
def test_too_little_to_whiten_by_is_refused(places, count, numbers, told):
    with pytest.raises(BankError, match=told):
        fit_whitening(places[0][:count], numbers)


def test_frames_that_are_all_the_same_cannot_be_whitened_by(places):
    with pytest.raises(BankError, match="all frames of a place look the very same at the level fine"):
        fit_whitening([places[0][0]] * 20 + [places[1][0]] * 20, [0] * 20 + [1] * 20)


@pytest.fixture(scope="module")
def prototypes(places):
    return [(f"place{number}", prototype_of(place)) for number, place in enumerate(places)]


def test_the_base_is_near_where_it_was_trained_and_nowhere_else(prototypes, whitening):
    base = prototypes[0][1].joined(prototypes[1][1])
    ready = whiten_places(base, prototypes[2:4], whitening, 0.5, prototypes[:2])
    nearest = {number: route(frames_of(number, seed=2)[0], ready, MIXTURE) for number in range(PLACES)}
    assert [nearest[number].nearest for number in range(4)] == ["base", "base", "place2", "place3"]
    assert [nearest[number].abstains for number in range(PLACES)] == [False] * 4 + [True]
    assert nearest[0].cosines[2, 0] == pytest.approx(nearest[0].best) and nearest[0].best > 0.7


def test_without_known_places_a_base_in_the_middle_resembles_nothing(places, prototypes):
    whitening = fit_whitening(places[0] + places[1], [0] * 40 + [1] * 40)
    base = prototypes[0][1].joined(prototypes[1][1])
    ready = whiten_places(base, prototypes[2:], whitening, 0.9)
    routing = route(places[0][0], ready, MIXTURE)
    assert routing.cosines[:, 0].tolist() == [0.0] * 3 and routing.abstains


def test_refinement_leaves_what_the_base_knows_where_it_is(prototypes, whitening):
    base = prototypes[0][1].joined(prototypes[1][1])
    ready = whiten_places(base, prototypes[2:], whitening, 0.5, prototypes[:2])
    seen = frames_of(2, seed=3)[0]
    for form in ("safe", "paper"):
        moved = refine(seen, ready, ready, RefinementConfig(refine=form, most_entropy=1.0), MIXTURE).places
        assert all(np.array_equal(one, other) for one, other in zip(moved.known, ready.known, strict=True))
        assert route(frames_of(0, seed=3)[0], moved, MIXTURE).nearest == "base"


def test_prototypes_of_known_places_of_another_encoder_are_refused_by_name(prototypes, whitening):
    narrow = prototype_of([Embedding((np.ones(3),) * 3)])
    with pytest.raises(BankError, match=r"place 'lab': an embedding of \[3, 3, 3\] numbers"):
        whiten_places(prototypes[0][1], prototypes, whitening, 0.5, [("lab", narrow)])
    with pytest.raises(BankError, match=r"an embedding of \[3, 3, 3\] numbers"):
        whiten_places(prototypes[0][1], prototypes, whitening, 0.5).cosines(narrow.mean)


def test_equal_rows_have_equal_cosines_wherever_they_stand():
    rng = np.random.default_rng(0)
    row, seen = rng.normal(size=257), rng.normal(size=257)
    for count in (1, 2, 3, 5, 8, 13):
        rows = np.concatenate([rng.normal(size=(count, 257)), row[None]])
        assert cosines_of(rows, seen)[-1] == cosines_of(row[None], seen)[0]
