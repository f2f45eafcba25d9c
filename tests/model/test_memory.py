"""A policy that runs for a day needs no more memory than one that runs for a minute."""

import gc
import os
import subprocess
import sys
from dataclasses import replace

import psutil
from small_networks import TINY, build, random_observations

from worldagen.policy_conventions import PRESET_CONVENTIONS
from worldagen.session import NetworkPolicy

SMALLEST = replace(TINY, backbone=replace(TINY.backbone, layers=1))


def test_two_thousand_decisions_leave_memory_flat_and_the_cache_bounded_by_k():
    policy = NetworkPolicy(build(SMALLEST), PRESET_CONVENTIONS["calvin"])
    policy.reset("open the drawer")
    seen, process = random_observations(20), psutil.Process()
    for step in range(2_000):
        policy.act(seen[step % len(seen)])
        if step % 10 == 0:
            policy.predict()
        if step == 400:  # allocators have settled
            gc.collect()
            before = process.memory_info().rss
    gc.collect()
    assert process.memory_info().rss - before < 8 * 2**20  # bytes
    assert len(policy._frames) == len(policy._executed) == TINY.units


def test_many_instructions_do_not_pile_up():
    policy = NetworkPolicy(build(TINY), PRESET_CONVENTIONS["calvin"])
    for number in range(200):
        policy.reset(f"open drawer number {number}")
    assert len(policy._texts) <= 64


PAPER_SIZE = """
import psutil, sys
sys.path.insert(0, sys.argv[1])
from small_networks import random_observations
from worldagen.session import make_policy

policy = make_policy("calvin")
policy.reset("open the drawer")
for observation in random_observations(2, size=200):
    policy.act(observation)
    policy.predict()
print(psutil.Process().memory_info().rss)
"""


def test_the_paper_size_network_serves_in_under_two_and_a_half_gigabytes():
    here = os.path.dirname(__file__)
    answer = subprocess.run([sys.executable, "-c", PAPER_SIZE, here], capture_output=True, text=True, check=True, timeout=110)
    assert int(answer.stdout) < 2.5e9
