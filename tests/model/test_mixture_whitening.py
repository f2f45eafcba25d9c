"""Embeddings, their whitening, and prototypes: from what an encoder makes of frames to what tells places apart."""

import numpy as np
import pytest
import torch
from small_networks import TINY, build

from worldagen.engines.encoder import TorchEngine
from worldagen.errors import BankError
from worldagen.mixture.embedding import LEVELS, Embedding, RunningEmbedding, average, embed, level_of_layer
from worldagen.mixture.prototypes import prototype_of
from worldagen.mixture.whitening import fit_whitening, shrinkage, unit

WIDTHS = (5, 7, 9)


def frames_of(place: int, count: int, seed: int = 0, noise: float = 0.05) -> list[Embedding]:
    """Frames of a place: nearly the same large vector for all places, a small one of its own, and noise."""
    common, own, rng = (np.random.default_rng(key) for key in ([7], [8, place], [9, place, seed]))
    base = [common.normal(size=width) * 10 for width in WIDTHS]
    mine = [own.normal(size=width) for width in WIDTHS]
    return [
        Embedding(tuple(b + m + rng.normal(size=len(b)) * noise for b, m in zip(base, mine, strict=True))) for _ in range(count)
    ]


def test_raw_vectors_all_look_alike_and_whitened_ones_tell_places_apart():
    places = [frames_of(place, 20) for place in range(6)]
    whitening = fit_whitening([frame for place in places for frame in place])

    def gap(numbers) -> tuple[float, float]:
        """Mean cosine within places and between them."""
        within = np.mean([numbers(p[0]) @ numbers(frame) for p in places for frame in p[1:]])
        between = np.mean([numbers(a[0]) @ numbers(b[0]) for a in places for b in places if a is not b])
        return float(within), float(between)

    for level in range(len(LEVELS)):
        within, between = gap(lambda frame, level=level: unit(frame.levels[level]))
        assert between > 0.8  # the raw vectors
        within, between = gap(lambda frame, level=level: whitening(frame)[level])
        assert within - between > 0.5


def test_whitened_frames_have_no_mean_and_are_alike_in_all_directions():
    frames = [frame for place in range(40) for frame in frames_of(place, 10)]
    whitening = fit_whitening(frames)
    for level, (mean, matrix) in enumerate(zip(whitening.means, whitening.matrices, strict=True)):
        numbers = np.stack([matrix @ (frame.levels[level] - mean) for frame in frames])
        assert np.abs(numbers.mean(axis=0)).max() < 1e-9
        values = np.linalg.eigvalsh(np.cov(numbers.T))
        assert values.min() > 0.5 and values.max() < 2


def test_shrinkage_is_small_for_many_frames_and_large_for_few():
    rng = np.random.default_rng(0)
    spread = np.diag(np.linspace(0.1, 3, 8))
    many, few = (rng.normal(size=(count, 8)) @ spread for count in (5000, 6))
    assert shrinkage(many - many.mean(axis=0)) < 0.02 < 0.2 < shrinkage(few - few.mean(axis=0))
    assert shrinkage(np.zeros((4, 3))) == 1.0


def test_a_unit_that_never_fires_harms_nothing():
    frames = [Embedding(tuple(np.append(level, 0.0) for level in frame.levels)) for frame in frames_of(0, 40)]
    told = fit_whitening(frames)(frames[0])
    assert all(np.isfinite(level).all() for level in told)


def test_too_few_frames_and_numbers_that_are_none_are_refused():
    with pytest.raises(BankError, match="3 frames to whiten by; give at least 16"):
        fit_whitening(frames_of(0, 3))
    with pytest.raises(BankError, match="numbers that are not finite"):
        Embedding((np.array([np.nan]), np.zeros(1), np.zeros(1)))
    with pytest.raises(BankError, match="expected 3 vectors: fine, middle, scene"):
        Embedding((np.zeros(1),))


def test_a_running_embedding_is_the_mean_of_the_first_frames_and_then_forgets_slowly():
    frames = frames_of(0, 10)
    running = RunningEmbedding()
    so_far = [running.add(frame) for frame in frames]
    assert all(np.allclose(so_far[7].levels[level], average(frames[:8]).levels[level]) for level in range(3))
    expected = 0.98 * so_far[7].levels[0] + 0.02 * frames[8].levels[0]
    assert running.settled and np.allclose(so_far[8].levels[0], expected)


def test_prototypes_joined_are_those_of_all_the_frames():
    one, two = frames_of(0, 5), frames_of(1, 12)
    joined, whole = prototype_of(one).joined(prototype_of(two)), prototype_of([*one, *two])
    assert joined.count == 17
    for level in range(len(LEVELS)):
        assert np.allclose(joined.mean.levels[level], whole.mean.levels[level])
        assert np.allclose(joined.variance[level], whole.variance[level])


def test_layers_are_routed_by_thirds():
    assert level_of_layer(24) == (0,) * 8 + (1,) * 8 + (2,) * 8
    assert level_of_layer(4) == (0, 0, 1, 2) and level_of_layer(1) == (0,)


def test_an_embedding_is_of_the_static_view_only():
    network = build(TINY)
    side = network.config.vision.static_size, network.config.vision.wrist_size
    static, wrist, other = (
        torch.rand(2, 3, side[0], side[0]),
        torch.rand(2, 3, side[1], side[1]),
        torch.rand(2, 3, side[1], side[1]),
    )
    engine = TorchEngine(network)
    with torch.no_grad():
        one, same, moved = (
            embed(engine.encode_all(*pictures)) for pictures in ((static, wrist), (static, other), (static.flip(0), wrist))
        )
    assert len(one) == 2
    for level in range(len(LEVELS)):
        assert np.allclose(one[0].levels[level], same[0].levels[level], atol=1e-6)
        assert np.allclose(one[0].levels[level], moved[1].levels[level], atol=1e-6)
        assert not np.allclose(one[0].levels[level], one[1].levels[level], atol=1e-4)
