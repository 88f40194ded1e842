"""The figures that papers report, and any other by its name.

`R@5` is the entry `R@k` of the registry with k = 5. A name that no entry has is looked up among the
measures of ir_measures (`nDCG@10`, `AP(rel=2)`, `MRR`), which see whole rankings.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rerank.core.errors import RerankError
from rerank.metrics import graded
from rerank.metrics.ranks import Ranks
from rerank.metrics.registry import FIGURES, FigureFacts, figure

Combine = Callable[[np.ndarray], np.ndarray]

DEFAULT: tuple[str, ...] = ("R@1", "R@5", "R@10", "MdR", "MnR")


@figure("R@k", help="queries with a right item among the first k, in percent", hits=True, order=1)
def recall(ranks: Ranks, k: int) -> np.ndarray:
    """(q,) 100 where a right item is among the first k, expected over ties."""
    return 100 * ranks.hits(k)


@figure("MdR", help="median rank of the best right item", combine="median", higher=False, order=2)
def median_rank(ranks: Ranks) -> np.ndarray:
    """(q,) ranks, counted from 1."""
    return ranks.values


@figure("MnR", help="mean rank of the best right item", higher=False, order=3)
def mean_rank(ranks: Ranks) -> np.ndarray:
    """(q,) ranks, counted from 1."""
    return ranks.values


@figure("RSum", help="R@1 + R@5 + R@10; for papers of both directions", both=True, order=4)
def recall_sum(ranks: Ranks) -> np.ndarray:
    """(q,) between 0 and 300."""
    return 100 * (ranks.hits(1) + ranks.hits(5) + ranks.hits(10))


@figure("geo", help="geometric mean of R@1, R@5 and R@10", combine="geometric", order=5)
def geometric_mean(ranks: Ranks) -> np.ndarray:
    """(q, 3) recalls, as Collaborative Experts and its successors report them."""
    return np.stack([100 * ranks.hits(k) for k in (1, 5, 10)], axis=1)


@dataclass(frozen=True, eq=False)
class Figure:
    """One figure, ready to be computed.

    Attributes:
        name: as asked for, the header of its column.
        facts: how it is combined and shown.
        of_ranks: from ranks to (q,) or (q, s) numbers, or None where whole rankings are needed.
        of_ranking: from the grades of one ranking to a number, or None.
        measure: of ir_measures, or None.
    """

    name: str
    facts: FigureFacts
    of_ranks: Callable[[Ranks], np.ndarray] | None = None
    of_ranking: Callable[[np.ndarray], float] | None = None
    measure: graded.Measure | None = None

    def __repr__(self) -> str:
        return f"Figure({self.name})"

    def value(self, parts: np.ndarray) -> float:
        """The figure of (q, s) numbers of its queries."""
        if self.facts.combine == "median":
            return float(np.median(parts[:, 0]))
        return float(self.combine(len(parts))(parts.mean(axis=0)))

    def combine(self, count: int) -> Combine:
        """From (..., s) means over `count` queries to (...) figures."""
        if self.facts.combine == "geometric":
            return geometric
        if self.facts.combine == "sum":
            return lambda means: count * means[..., 0]
        return lambda means: means[..., 0]

    def parts(self, ranks: Ranks) -> np.ndarray:
        """(q, s) numbers from ranks.

        Raises:
            RerankError: the function returned another shape.
        """
        if self.of_ranks is None:
            raise RerankError(f"figure {self.name}: needs whole rankings")
        found = np.asarray(self.of_ranks(ranks), dtype=np.float64)
        if found.ndim not in (1, 2) or len(found) != len(ranks):
            raise RerankError(
                f"figure {self.name}: got shape {found.shape}, expected one number for each of "
                f"{len(ranks)} queries"
            )
        return found.reshape(len(ranks), -1)


def geometric(means: np.ndarray) -> np.ndarray:
    """Geometric mean of s means."""
    return np.prod(np.maximum(means, 0.0), axis=-1) ** (1 / means.shape[-1])


def find(name: str) -> Figure:
    """A figure by its name.

    Raises:
        RerankError: neither an entry of the registry nor a measure that can be computed here.

    Example:
        >>> find("R@5").name, find("mdr").name
        ('R@5', 'MdR')
    """
    name = name.strip()
    base, at, cutoff = name.rpartition("@")
    if at and _has(f"{base}@k"):
        if not cutoff.isdecimal() or int(cutoff) < 1:
            raise RerankError(
                f"figure: got {name!r}, expected a whole number of at least 1 behind @, such as "
                f"{base}@5"
            )
        card = FIGURES.find(f"{base}@k")
        # R@5, r@5 and Recall@5 are one column.
        name, of = f"{card.name[:-1]}{int(cutoff)}", partial(card.load(), k=int(cutoff))
    elif _has(name) and "@" not in name:
        card = FIGURES.find(name)
        name, of = card.name, card.load()
    else:
        return _measure(name)
    if card.facts.sees == "ranking":
        return Figure(name, card.facts, of_ranking=of)
    return Figure(name, card.facts, of_ranks=of)


def _has(name: str) -> bool:
    # Names of ir_measures differ by case alone (R and r), so only entries' own names count here.
    lower = name.lower()
    return lower in {known.lower() for known in FIGURES} or lower in FIGURES.aliases


def _measure(name: str) -> Figure:
    measure = graded.parse(name, _likely(name))
    if name.startswith("R("):
        # Beside R@5, which asks whether one is found, nobody would see that it is another figure.
        raise RerankError(
            f"figure {name}: R@k is the share of queries that find a right item, and R of "
            "ir_measures the share of the right items that are found; write "
            f"Success{name[1:]} for the first, Recall{name[1:]} for the second"
        )
    combine = "sum" if graded.adds_up(measure) else "mean"
    return Figure(name, FigureFacts(combine=combine), measure=measure)


def _likely(name: str) -> str:
    meant = {known.lower(): known for known in (*FIGURES, "MRR", "MAP", "nDCG@10")}
    meant |= {"recall@k": "R@k", "hit@k": "R@k", "hits@k": "R@k", "median rank": "MdR"}
    near = difflib.get_close_matches(name.lower(), meant, n=1)
    return f"; did you mean {meant[near[0]].replace('@k', '@5')!r}?" if near else ""


def find_all(names: str | Sequence[str]) -> tuple[Figure, ...]:
    """Figures by names, joined by commas or in a sequence; repeated ones count once.

    Raises:
        RerankError: none, or an unknown one.

    Example:
        >>> find_all("R@1, nDCG@10, AP(rel=2,judged_only=True)")
        (Figure(R@1), Figure(nDCG@10), Figure(AP(rel=2,judged_only=True)))
    """
    given = split(names) if isinstance(names, str) else list(names)
    found = {one.name: one for one in map(find, given)}
    if not found:
        raise RerankError("figures: got none, expected names such as R@1,R@5,MdR,nDCG@10")
    return tuple(found.values())


def split(names: str) -> list[str]:
    """Names joined by commas; commas inside brackets belong to a name."""
    out, depth, word = [], 0, ""
    for letter in names:
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(letter, 0)
        if letter == "," and depth <= 0:
            out.append(word)
            word = ""
        else:
            word += letter
    return [word.strip() for word in (*out, word) if word.strip()]


def known() -> list[tuple[str, str]]:
    """Names and help of the registry's figures, in order."""
    return [(card.name, card.help) for card in FIGURES.cards().values()]


def as_text(value: float, facts: FigureFacts) -> str:
    """A figure as tables print it; a dash where it is not defined."""
    return "-" if math.isnan(value) else f"{value:.{facts.digits}f}"


_LATEX = {
    "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def tex_text(text: str) -> str:
    r"""Text for LaTeX; a formula at its beginning stays.

    >>> tex_text("a_b & c")
    'a\\_b \\& c'
    """
    if text.startswith("$") and text.count("$") == 2:
        end = text.index("$", 1) + 1
        return text[:end] + tex_text(text[end:])
    return "".join(_LATEX.get(letter, letter) for letter in text)
