"""How far a figure would move with other queries: intervals and paired differences.

Queries that share a right answer (the captions of one video) are not independent, so whole
clusters are drawn. Intervals are percentiles of the resampled statistic (Efron and Tibshirani,
1993), widened for few clusters as Student's t is (expanded percentiles, Hesterberg, The American
Statistician 2015); p-values come from a paired randomisation test, which swaps before and after
within each cluster at random (Fisher; Smucker, Allan and Carterette, CIKM 2007). All seeded and
vectorised.

Where fewer than `FEW` queries are right, or wrong, resampling cannot show what the sample does not
hold. A share then has the Wilson score interval (JASA 1927) and a paired change of shares that of
Agresti and Min (Statistics in Medicine 2005), each for the effective number of independent
queries (Korn and Graubard, Survey Methodology 1998). Below `MIN_CLUSTERS` clusters there is no
interval: bounds are NaN. Below `MIN_TESTED` there is no p-value either.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from rerank.core import scipy_parts
from rerank.core.errors import RerankError

# With fewer right, or wrong, queries than this a share has no bootstrap interval.
FEW = 10
# With fewer clusters than this there is no interval at all.
MIN_CLUSTERS = 10
# With fewer the swap test, whose smallest value is 2 / 2^clusters, cannot reach .05.
MIN_TESTED = 6
# Numbers of one chunk of resamples x clusters: half a megabyte, whose products stay on one thread.
_CHUNK = 64 * 1024

Combine = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A figure and where it lies at the confidence level asked for."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired change of a figure.

    Attributes:
        before: figure before.
        after: figure after.
        low: lower bound of after - before.
        high: upper bound.
        p: two-sided p-value of no change; NaN where too few clusters can tell.
    """

    before: float
    after: float
    low: float
    high: float
    p: float

    @property
    def change(self) -> float:
        """After - before."""
        return self.after - self.before

    def __str__(self) -> str:
        return format_change(self)


def format_change(difference: Difference, digits: int = 1) -> str:
    """The figure after, its change and the interval of the change, where there is one.

    >>> format_change(Difference(34.4, 41.7, 5.1, 9.4, 0.0001))
    '41.7 (+7.3 [5.1, 9.4])'
    >>> format_change(Difference(34.4, 34.38, -0.04, 0.0, 1.0))
    '34.4 (+0.0 [0.0, 0.0])'
    """
    text = f"{difference.after:z.{digits}f} ({difference.change:+z.{digits}f}"
    if math.isnan(difference.low):
        return f"{text})"
    return f"{text} [{difference.low:z.{digits}f}, {difference.high:z.{digits}f}])"


def too_few(found: Iterable[Interval | Difference]) -> str:
    """Why figures have no interval, or no p-value either; "" where nothing is missing.

    >>> too_few([Interval(50.0, math.nan, math.nan)])
    'fewer than 10 groups of queries that share no right answer, so no interval is given'
    """
    found = list(found)
    groups = "groups of queries that share no right answer, so"
    if any(isinstance(one, Difference) and math.isnan(one.p) for one in found):
        return (
            f"fewer than {MIN_TESTED} {groups} neither an interval nor a p is given: "
            f"no test of so few could tell a change from chance"
        )
    if any(math.isnan(one.low) for one in found):
        return f"fewer than {MIN_CLUSTERS} {groups} no interval is given"
    return ""


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Resampling of the queries of one direction; the same draws for everything it is asked.

    Attributes:
        clusters: (q,) cluster of every judged query; `np.arange(q)` where each is its own.
        level: confidence level.
        resamples: draws for intervals.
        flips: random swaps for p-values, whose smallest value is 1 / (flips + 1).
        seed: of the draws.
    """

    clusters: np.ndarray
    level: float = 0.95
    resamples: int = 2000
    flips: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        codes = np.unique(np.asarray(self.clusters), return_inverse=True)[1]
        object.__setattr__(self, "clusters", codes)
        if not 0 < self.level < 1:
            raise RerankError(f"level: got {self.level}, expected between 0 and 1, such as 0.95")
        if self.resamples < 1 or self.flips < 1:
            raise RerankError(f"resamples: got {self.resamples}, expected at least 1")

    @cached_property
    def sizes(self) -> np.ndarray:
        """(C,) queries in each cluster."""
        return np.bincount(self.clusters).astype(np.float64)

    def _weights(self) -> Iterator[np.ndarray]:
        """How often each resample draws each cluster, (b, C) at a time."""
        rng = np.random.default_rng(self.seed)
        count = len(self.sizes)
        step = max(1, _CHUNK // count)
        for start in range(0, self.resamples, step):
            rows = min(step, self.resamples - start)
            drawn = rng.integers(0, count, (rows, count), dtype=np.int64)
            drawn += np.arange(rows)[:, None] * count
            yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """(C, s) sums of the values of each cluster."""
        values = self._checked(values)
        out = np.zeros((len(self.sizes), values.shape[1]))
        np.add.at(out, self.clusters, values)
        return out

    def _checked(self, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if len(values) != len(self.clusters):
            raise RerankError(
                f"bootstrap: got {len(values)} values, expected one for each of the "
                f"{len(self.clusters)} judged queries"
            )
        return values

    def means(self, values: np.ndarray) -> np.ndarray:
        """Mean over the queries in every resample.

        Args:
            values: (q,) or (q, s), s quantities per query.

        Returns:
            (resamples, s).
        """
        sums = self._sums(values)
        return np.concatenate(
            [(weights @ sums) / (weights @ self.sizes)[:, None] for weights in self._weights()]
        )

    def medians(self, values: np.ndarray) -> np.ndarray:
        """Median over the queries in every resample, (resamples,); values (q,)."""
        values = self._checked(values)[:, 0]
        order = np.argsort(values, kind="stable")
        ordered, owner = values[order], self.clusters[order]
        out = []
        for weights in self._weights():
            for row in weights:
                reached = np.cumsum(row[owner])
                total = reached[-1]
                # The two middle places, counted from 1; equal where the number is odd.
                middle = np.searchsorted(reached, [(total + 1) // 2, total // 2 + 1])
                out.append(ordered[middle].mean())
        return np.array(out)

    def interval(self, values: np.ndarray, combine: Combine | None = None) -> Interval:
        """Bootstrap interval of a mean, or of a function of several means.

        Args:
            values: (q,) or (q, s).
            combine: from (..., s) means to (...) figures; the single mean by default.
        """
        combine = combine or _only
        point = float(combine(self._checked(values).mean(axis=0)))
        return Interval(point, *self._bounds(lambda: combine(self.means(values))))

    def median_interval(self, values: np.ndarray) -> Interval:
        """Bootstrap interval of a median; values (q,)."""
        point = float(np.median(values))
        return Interval(point, *self._bounds(lambda: self.medians(values)))

    def difference(
        self, before: np.ndarray, after: np.ndarray, combine: Combine | None = None
    ) -> Difference:
        """Paired change of a mean, or of a function of several means, of the same queries.

        Args:
            before: (q,) or (q, s).
            after: the same shape, the same queries in the same order.
            combine: from (..., s) means to (...) figures; the single mean by default.
        """
        return self.differences(before, after, {"": combine or _only})[""]

    def differences(
        self,
        before: np.ndarray,
        after: np.ndarray,
        figures: Mapping[str, Combine],
        *,
        shares: Mapping[str, int] = MappingProxyType({}),
    ) -> dict[str, Difference]:
        """Paired changes of several figures of the same queries, from the same draws.

        Args:
            before: (q, s).
            after: (q, s).
            figures: by name, from (..., s) means to (...) figures.
            shares: figures that are the mean of one column of 0 or 100, and which column.
        """
        before, after = self._checked(before), self._checked(after)
        first, second = before.mean(axis=0), after.mean(axis=0)
        changes = {name: float(of(second) - of(first)) for name, of in figures.items()}
        p_values = self._swap_test(before, after, figures, changes)
        s = before.shape[1]
        both = self.means(np.hstack([before, after])) if self.enough else None
        out = {}
        for name, of in figures.items():
            bounds = (math.nan, math.nan)
            if both is not None:
                gains = (after - before)[:, shares[name]] / 100 if name in shares else None
                if gains is not None and self._few_changes(gains):
                    bounds = self._agresti_min(gains)
                else:
                    bounds = self._percentiles(of(both[:, s:]) - of(both[:, :s]))
            out[name] = Difference(float(of(first)), float(of(second)), *bounds, p_values[name])
        return out

    @property
    def enough(self) -> bool:
        """Whether there are clusters enough for an interval."""
        return len(self.sizes) >= MIN_CLUSTERS

    @cached_property
    def _z(self) -> float:
        """Student's quantile of the level, for one less than the number of clusters."""
        special = scipy_parts.part("special")  # scipy.stats takes far longer

        return float(special.stdtrit(len(self.sizes) - 1, (1 + self.level) / 2))

    def _bounds(self, resampled: Callable[[], np.ndarray]) -> tuple[float, float]:
        """Percentiles; undefined with few clusters, whose resamples are nearly copies."""
        return self._percentiles(resampled()) if self.enough else (math.nan, math.nan)

    def _percentiles(self, resampled: np.ndarray) -> tuple[float, float]:
        special = scipy_parts.part("special")
        count = len(self.sizes)
        # Resamples of C clusters spread by sqrt((C - 1) / C) too little, and z is not t.
        tail = special.ndtr(-math.sqrt(count / (count - 1)) * self._z)
        low, high = np.quantile(resampled, [tail, 1 - tail])
        return float(low), float(high)

    def share_interval(self, values: np.ndarray) -> Interval:
        """Interval of a share: of the bootstrap, or Wilson's where few are right or wrong.

        Args:
            values: (q,) 100 where right and 0 where wrong, or between where ties decide.
        """
        values = self._checked(values)[:, 0]
        share = float(values.mean()) / 100
        count = self._effective(values / 100)
        if not self.enough:
            return Interval(100 * share, math.nan, math.nan)
        if min(share, 1 - share) * count >= FEW:
            return self.interval(values)
        low, high = wilson(share, count, self._z)
        return Interval(100 * share, 100 * low, 100 * high)

    def _effective(self, values: np.ndarray) -> float:
        """How many independent queries would be as uncertain about a mean as these clusters."""
        n, clusters = len(values), len(self.sizes)
        if clusters == n or clusters < 2:
            return float(n)
        mean = values.mean()
        sums = np.bincount(self.clusters, values - mean)
        variance = clusters / (clusters - 1) * float((sums**2).sum()) / n**2
        alone = float(values.var()) / n
        # At worst every cluster is one query; at best clusters do not matter.
        least = n**2 / float((self.sizes**2).sum())
        return min(max(n * alone / variance, least), n) if variance > 0 else least

    def _few_changes(self, gains: np.ndarray) -> bool:
        """Whether fewer than twice `FEW` queries changed from wrong to right or back."""
        scale = self._effective(gains) / len(gains)
        return float(np.abs(gains).sum()) * scale < 2 * FEW

    def _agresti_min(self, gains: np.ndarray) -> tuple[float, float]:
        """Interval of a paired change of shares, in percent, with half a query in every cell."""
        n = self._effective(gains)
        scale = n / len(gains)
        better = scale * float(np.maximum(gains, 0).sum()) + 0.5
        worse = scale * float(np.maximum(-gains, 0).sum()) + 0.5
        total = n + 2
        middle = (better - worse) / total
        half = self._z * math.sqrt(better + worse - (better - worse) ** 2 / total) / total
        return 100 * max(middle - half, -1.0), 100 * min(middle + half, 1.0)

    def _swap_test(
        self,
        before: np.ndarray,
        after: np.ndarray,
        figures: Mapping[str, Combine],
        observed: Mapping[str, float],
    ) -> dict[str, float]:
        """Share of random swaps of before and after that change a figure at least as much."""
        half = self._sums(after - before) / (2 * len(before))
        # Clusters that did not change are the same swapped or not.
        half = half[np.abs(half).max(axis=1) > 0]
        if len(self.sizes) < MIN_TESTED:
            return dict.fromkeys(figures, math.nan)
        if not len(half):
            return dict.fromkeys(figures, 1.0)
        middle, whole = (before.mean(axis=0) + after.mean(axis=0)) / 2, half.sum(axis=0)
        rng = np.random.default_rng([self.seed, 1])
        step = max(1, _CHUNK // len(half))
        extreme = dict.fromkeys(figures, 0)
        for start in range(0, self.flips, step):
            rows = min(step, self.flips - start)
            kept = rng.integers(0, 2, (rows, len(half)), dtype=np.int8).astype(np.float64)
            shift = 2 * (kept @ half) - whole
            for name, of in figures.items():
                change = of(middle + shift) - of(middle - shift)
                # Rounding must not turn a swap that equals the observed change into a smaller one.
                enough = np.abs(change) >= abs(observed[name]) * (1 - 1e-9)
                extreme[name] += int(enough.sum())
        return {name: (count + 1) / (self.flips + 1) for name, count in extreme.items()}


def _only(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


def wilson(share: float, count: float, z: float) -> tuple[float, float]:
    """The score interval of a share of `count` independent queries.

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Example:
        >>> low, high = wilson(0.0, 100, 1.96)
        >>> round(low, 4), round(high, 4)
        (0.0, 0.037)
    """
    slack = z * z / count
    middle = share + slack / 2
    half = z * math.sqrt(share * (1 - share) / count + slack / (4 * count))
    low, high = (middle - half) / (1 + slack), (middle + half) / (1 + slack)
    # Rounding must not put the share outside its own interval.
    return max(min(low, share), 0.0), min(max(high, share), 1.0)
