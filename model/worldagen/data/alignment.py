"""Which sample of a stream belongs to which instant, by a rule that each stream declares; and how far apart they were.

nearest TOLERANCE_S      the sample whose stamp is nearest, if it is within the tolerance (the rule of the running policy)
hold MAX_AGE_S           the newest sample that is not younger, if it is no older than that (commands)
interpolate MAX_GAP_S    a mixture of the samples before and after, if they are no further apart (joints that come seldom)

Legend: T instants, N samples of a stream. Stamps are nanoseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np

from worldagen.errors import ConfigError

Kind = Literal["nearest", "hold", "interpolate"]


@dataclass(frozen=True)
class Rule:
    """How a stream is aligned. limit_s: tolerance, largest age, or largest gap."""

    kind: Kind
    limit_s: float

    @staticmethod
    def parse(text: str) -> "Rule":
        """ "nearest 0.02" -> a rule. Raises ConfigError on anything else."""
        kind, _, limit = text.partition(" ")
        try:
            limit_s = float(limit)
        except ValueError:
            limit_s = -1.0
        if kind not in get_args(Kind) or not 0 <= limit_s < float("inf"):
            raise ConfigError(f"alignment {text!r}; expected one of {', '.join(get_args(Kind))} and seconds: 'nearest 0.02'")
        return Rule(cast(Kind, kind), limit_s)


@dataclass(frozen=True, eq=False)
class Alignment:
    """For T instants: before, after (T,) indices of samples, share (T,) of the one after.

    skew_s: (T,) by how much the sample used differs from the instant; of a mixture, its nearer end. ok: (T,) within the limit.
    """

    before: np.ndarray
    after: np.ndarray
    share: np.ndarray
    skew_s: np.ndarray
    ok: np.ndarray

    def __getitem__(self, part: slice | np.ndarray) -> "Alignment":
        """Of some of the instants."""
        return Alignment(self.before[part], self.after[part], self.share[part], self.skew_s[part], self.ok[part])

    def mix(self, samples: np.ndarray) -> np.ndarray:
        """(N, ...) samples -> (T, ...); N is at least 1."""
        share = self.share.reshape(-1, *[1] * (samples.ndim - 1))
        return np.where(share == 0, samples[self.before], (1 - share) * samples[self.before] + share * samples[self.after])


def align(rule: Rule, instants_ns: np.ndarray, stamps_ns: np.ndarray) -> Alignment:
    """Align a stream; stamps_ns: (N,), not falling. A stream without samples is nowhere within the limit."""
    instants, stamps = np.asarray(instants_ns, np.int64), np.asarray(stamps_ns, np.int64)
    count = len(instants)
    if len(stamps) == 0:
        nothing = np.zeros(count, np.int64)
        return Alignment(nothing, nothing, np.zeros(count), np.full(count, np.inf), np.zeros(count, bool))
    newest = np.searchsorted(stamps, instants, side="right") - 1  # -1: none is that old
    sides = (np.clip(newest, 0, None), np.clip(newest + 1, None, len(stamps) - 1))
    before, after = (np.searchsorted(stamps, stamps[side], side="right") - 1 for side in sides)  # of one stamp: what came last
    limit_ns = round(rule.limit_s * 1e9)  # compared as whole numbers, like the running policy
    age_s = (instants - stamps[before]) * 1e-9
    lead_s = (stamps[after] - instants) * 1e-9
    if rule.kind == "hold":
        return Alignment(before, before, np.zeros(count), age_s, (newest >= 0) & (instants - stamps[before] <= limit_ns))
    later = np.abs(lead_s) < np.abs(age_s)  # of two that are as near, the older one, like the running policy
    if rule.kind == "nearest":
        chosen = np.where(later, after, before)
        skew_s = np.where(later, -lead_s, age_s)
        return Alignment(chosen, chosen, np.zeros(count), skew_s, np.abs(instants - stamps[chosen]) <= limit_ns)
    gap_s = (stamps[after] - stamps[before]) * 1e-9
    exact = age_s == 0
    share = np.where(exact | (gap_s == 0), 0.0, age_s / np.where(gap_s == 0, 1.0, gap_s))
    inside = exact | ((newest >= 0) & (lead_s >= 0) & (after > before) & (stamps[after] - stamps[before] <= limit_ns))
    return Alignment(before, after, np.where(inside, share, 0.0), np.where(later, -lead_s, age_s), inside)


@dataclass(frozen=True)
class Skew:
    """How far the samples of one stream were from their instants: count; median and largest, s; how many were out of limit."""

    count: int
    median_s: float
    largest_s: float
    refused: int


def skew_report(alignments: Mapping[str, Alignment]) -> dict[str, Skew]:
    """Stream -> skew."""
    report = {}
    for name, aligned in alignments.items():
        apart = np.abs(aligned.skew_s[aligned.ok])
        median, largest = (float(np.median(apart)), float(apart.max())) if len(apart) else (0.0, 0.0)
        report[name] = Skew(len(aligned.ok), median, largest, int((~aligned.ok).sum()))
    return report
