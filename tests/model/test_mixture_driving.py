"""A policy routed by places: what is mixed when, and that the base comes back to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from adaptation_making import CONVENTIONS
from mixed_factors import LAYERED, random_factors
from small_networks import build, random_observations

from worldagen.errors import BankError
from worldagen.mixture.driving import MixtureDriver, shares_of
from worldagen.mixture.embedding import FIRST_FRAMES, embed
from worldagen.mixture.prototypes import BASE, prototype_of
from worldagen.mixture.router import REQUEST
from worldagen.mixture.routing import Places, RoutingConfig, whiten_places
from worldagen.mixture.whitening import fit_whitening
from worldagen.session import NetworkPolicy
from worldagen.types import Observation

CONFIG = RoutingConfig(route="mixture", active=2, temperature=0.3)
LONG = FIRST_FRAMES + CONFIG.patience


def place_seen(shade: int, seed: int = 0, count: int = 20) -> list[Observation]:
    """Observations of a place that is mostly of one shade, with noise."""
    rng = np.random.default_rng([seed, shade])

    def picture(one: np.ndarray, tone: int) -> np.ndarray:
        return np.clip(rng.integers(-20, 20, one.shape) + tone, 0, 255).astype(np.uint8)

    return [
        replace(one, static_image=picture(one.static_image, shade), wrist_image=picture(one.wrist_image, 128))
        for one in random_observations(count, seed)
    ]


KITCHEN, SHED, HOME = place_seen(40), place_seen(210), place_seen(120)


@pytest.fixture
def policy() -> NetworkPolicy:
    return NetworkPolicy(build(LAYERED), CONVENTIONS)


def embeddings(policy: NetworkPolicy, seen: list[Observation]) -> list:
    return [one for observation in seen for one in embed(policy.encode_all(observation))]


@pytest.fixture
def places(policy) -> Places:
    shown = {BASE: embeddings(policy, HOME), "kitchen": embeddings(policy, KITCHEN), "shed": embeddings(policy, SHED)}
    whitening = fit_whitening([one for frames in shown.values() for one in frames])
    prototypes = [(name, prototype_of(frames)) for name, frames in shown.items()]
    return whiten_places(prototypes[0][1], prototypes[1:], whitening, -1.0)


@pytest.fixture
def driver(policy, places) -> MixtureDriver:
    factors = {name: random_factors(policy.network, name, seed=seed) for seed, name in enumerate(places.names[1:], 1)}
    return MixtureDriver(policy, places, factors, CONFIG)


def drive(policy: NetworkPolicy, driver: MixtureDriver | None, seen: list[Observation]) -> list[np.ndarray]:
    """An episode as a node plays it; the rows of its chunks."""
    policy.reset("push the block")
    if driver is not None:
        driver.begin()
    rows = []
    for observation in seen:
        if driver is not None:
            driver.before(observation)
        rows.append(policy.act(observation).rows)
        if driver is not None:
            driver.after()
        policy.prepare()
    return rows


def test_the_first_chunk_of_an_episode_is_mixed_by_what_is_seen(policy, driver):
    plain = drive(policy, None, KITCHEN[:1])
    mixed = drive(policy, driver, KITCHEN[:1])
    assert policy.adapter == "mixture" and driver.routed.routing.nearest == "kitchen"
    assert not np.array_equal(plain[0], mixed[0])


def test_after_a_while_it_looks_no_more_and_the_weights_stay(policy, driver):
    drive(policy, driver, KITCHEN[: LONG + 1])  # the last weights are reached a decision after it has looked
    assert not driver.router.looking
    before = driver.routed.weights
    for observation in SHED[:5]:
        driver.before(observation)
        policy.act(observation)
        driver.after()
    assert np.array_equal(driver.routed.weights, before)


def test_asked_to_it_finds_another_place(policy, driver):
    drive(policy, driver, KITCHEN[:LONG])
    driver.look(REQUEST)
    for observation in SHED[:LONG]:
        driver.before(observation)
        policy.act(observation)
        driver.after()
    assert driver.routed.routing.nearest == "shed" and driver.routed.why == REQUEST


def test_every_episode_begins_anew_and_is_the_same_to_the_bit(policy, driver):
    one = drive(policy, driver, KITCHEN[:6])
    drive(policy, driver, SHED[:6])
    again = drive(policy, driver, KITCHEN[:6])
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


def test_what_was_recorded_is_mixed_as_if_it_were_seen_now(policy, driver):
    drive(policy, driver, KITCHEN[: LONG + 1])
    live = driver.routed.weights
    drive(policy, driver, SHED[:2])
    driver.take_in(KITCHEN[: LONG + 1])
    assert np.array_equal(driver.routed.weights, live) and policy.adapter == "mixture"


def test_all_places_alike_are_mixed_at_once_whatever_is_seen(policy, places):
    factors = {name: random_factors(policy.network, name, seed=seed) for seed, name in enumerate(places.names[1:], 1)}
    alike = MixtureDriver(policy, places, factors, replace(CONFIG, route="uniform", active=1))
    alike.take_in(SHED[:1])
    assert np.array_equal(alike.routed.weights, [[0, 0.5, 0.5]] * 3) and policy.adapter == "mixture"


def test_words_and_joint_states_do_not_change_what_is_mixed(policy, driver):
    drive(policy, driver, KITCHEN[:4])
    one = driver.routed.weights
    policy.reset("open the drawer")
    driver.begin()
    for observation in KITCHEN[:4]:
        moved = replace(observation, state=observation.state + np.array([0.1, -0.1, 0.05, 0, 0, 0.2, 0]))
        driver.before(moved)
        policy.act(moved)
        driver.after()
    assert np.array_equal(driver.routed.weights, one)


def test_where_nothing_is_known_the_base_drives_to_the_bit(policy, places, driver):
    plain = drive(policy, None, HOME[:3])
    factors = {name: random_factors(policy.network, name, seed=9) for name in places.names[1:]}
    lost = MixtureDriver(policy, replace(places, least=2.0), factors, CONFIG)  # no cosine reaches that
    mixed = drive(policy, lost, HOME[:3])
    assert lost.routed.routing.abstains and policy.adapter == ""
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(plain, mixed, strict=True))
    assert np.array_equal(plain[0], mixed[0])  # the others differ by what `prepare` rounds


def test_closed_the_base_drives_as_before(policy, driver):
    plain = drive(policy, None, KITCHEN[:3])
    drive(policy, driver, KITCHEN[:3])
    driver.close()
    assert policy.adapter == ""
    assert all(np.array_equal(a, b) for a, b in zip(plain, drive(policy, None, KITCHEN[:3]), strict=True))


def test_more_places_than_there_is_room_for_leave_the_smallest_to_the_base(policy, driver):
    drive(policy, driver, KITCHEN[:1])
    names = (BASE, "a", "b", "c")
    weights = np.array([[0.1, 0.5, 0.4, 0.0], [0.0, 0.7, 0.1, 0.2], [0.0, 0.6, 0.0, 0.4]])
    routed = replace(driver.routed, names=names, weights=weights)
    assert shares_of(routed, 2) == {"a": (0.5, 0.7, 0.6), "c": (0.0, 0.2, 0.4)}
    assert list(shares_of(routed, 9)) == ["a", "c", "b"]


def test_a_place_without_an_adapter_and_other_ranks_are_refused(policy, places):
    kitchen = random_factors(policy.network, "kitchen", rank=4)
    with pytest.raises(BankError, match="places without an adapter: shed; add them to the bank again"):
        MixtureDriver(policy, places, {"kitchen": kitchen}, CONFIG)
    with pytest.raises(BankError, match="have one rank; found kitchen 4, shed 2"):
        MixtureDriver(policy, places, {"kitchen": kitchen, "shed": random_factors(policy.network, "shed", rank=2)}, CONFIG)
