"""benchmarks/operations.py counts what it says: operations, attention among them, and what lives at the same time."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import operations


class Parts(torch.nn.Module):
    """A network with the parts that are told apart, one of them not empty."""

    def __init__(self) -> None:
        super().__init__()
        for name in operations.PARTS:
            setattr(self, name, torch.nn.Identity())
        self.vision = torch.nn.Linear(8, 4, bias=False)


def test_a_multiply_add_is_two_operations_and_belongs_to_its_part():
    network = Parts().requires_grad_(False)
    with torch.inference_mode():
        counted = operations.count(network, lambda: network.vision(torch.ones(3, 8)) @ torch.ones(4, 5))
    assert counted["parts"]["vision"] * 1e9 == 2 * 3 * 8 * 4
    assert counted["gflop"] * 1e9 == 2 * 3 * 8 * 4 + 2 * 3 * 4 * 5


def test_attention_on_the_cpu_is_counted_too():
    q = torch.ones(1, 2, 5, 8)  # 2 heads, 5 tokens
    attend = torch.nn.functional.scaled_dot_product_attention
    with torch.inference_mode():
        counted = operations.count(Parts(), lambda: attend(q, q, q))
    assert counted["gflop"] * 1e9 == 2 * (2 * 2 * 5 * 5 * 8)  # scores, and their product with the values


def test_memory_is_what_lives_at_the_same_time():
    start = torch.zeros(1000)  # there before, not counted

    def work() -> torch.Tensor:
        first = start + 1
        second = first * 2  # two at once
        del first
        return second.view(10, 100) + 1  # a view is not new; two again

    with operations.follower()() as live:
        result = work()
    assert live.peak == 2 * 4000 and live.live == 4000 and result.shape == (10, 100)


def test_an_estimate_is_never_below_one_reading_of_the_weights():
    mode = operations.Mode("made", "up", sms=8, mhz=1000, gb_per_s=100)
    assert mode.peak_tflops == pytest.approx(16.384)
    best, worst = operations.estimate(mode, gflop=100, weights=100_000_000)
    assert (best, worst) == pytest.approx((100 / (16.384 * 0.45), 100 / (16.384 * 0.15)))
    assert operations.estimate(mode, gflop=0.1, weights=100_000_000) == pytest.approx((2.0, 2.0))


def test_peaks_agree_with_the_sparse_int8_figures_of_the_data_sheets():
    """TOPS of the GPU alone: Orin Nano 8 GB in its super mode, AGX Orin 64 GB."""
    peaks = {(mode.module, mode.mode): mode.peak_tflops for mode in operations.MODES}
    assert peaks["Orin Nano 8 GB", "MAXN_SUPER"] == pytest.approx(67 / 4, rel=0.01)
    assert peaks["AGX Orin 64 GB", "MAXN"] == pytest.approx(170 / 4, rel=0.01)
