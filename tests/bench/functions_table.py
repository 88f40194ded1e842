"""R@1 of functions by sentences of their docstrings: real data that every machine has.

    python tests/bench/functions_table.py

Texts are sentences of docstrings, items the bodies of the functions of installed packages, both
over the first d axes of weighted words (LSA), or what a ridge regression from other pairs makes of
the texts ("ridge"). The models are weak, and their hubs stay when means are taken out. First
sentences are one-to-one; all sentences of a few functions want these alone. The bounds of
`popular_choices` were chosen with it in view, no other constant was. R@1 of Sinkhorn on the test
queries themselves: raw, all items alike, and the default, by embeddings and by their scores.
"""

import ast
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.linalg import svds
from torch import Tensor

from rerank.core.similarity import Dense, Pair
from rerank.methods.sinkhorn import Sinkhorn

PACKAGES = ("scipy", "numpy", "torch", "pandas", "numba", "h5py", "sympy", "networkx")
# Words, functions, those of them with eight sentences and more, and axes.
WORDS, FUNCTIONS, SAID, AXES = 8000, 4000, 700, (64, 128, 256, 512)
# Pairs that the ridge is learned from, which are no test pairs.
LEARNED = 1500


def functions() -> Iterator[tuple[list[str], str]]:
    """Sentences and body of every function that has both."""
    seen: set[str] = set()
    for package in PACKAGES:
        for file in sorted((Path(sysconfig.get_path("purelib")) / package).rglob("*.py")):
            if "tests" in file.parts:
                continue
            try:
                nodes = list(ast.walk(ast.parse(file.read_text())))
            except (SyntaxError, ValueError):
                continue
            for node in nodes:
                said = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
                if not said or not isinstance(node, ast.FunctionDef):
                    continue
                sentences = []
                for part in re.split(r"\n\s*\n|\. |\.\n", said):
                    plain = part.strip().lower()
                    known = plain in seen or ">>>" in plain
                    if not known and len(re.findall("[a-z]{3,}", plain)) >= 4:
                        seen.add(plain)
                        sentences.append(part)
                body = " ".join(map(ast.unparse, node.body[1:]))[:3000]
                if sentences and len(body) > 60:
                    yield sentences[:12], body


def words(text: str) -> Counter[str]:
    """Stems of a text."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower().replace("_", " ")
    return Counter(x[:7] for x in re.findall("[a-z]+", apart) if len(x) > 2)


def weighted(
    texts: list[Counter[str]], place: dict[str, int], rarity: np.ndarray
) -> sparse.csr_array:
    """(n, words) rows of unit norm."""
    entries = [
        (row, place[word], (1 + np.log(count)) * rarity[place[word]])
        for row, text in enumerate(texts)
        for word, count in text.items()
        if word in place
    ]
    rows, columns, values = map(np.array, zip(*entries, strict=True))
    found = sparse.csr_array((values, (rows, columns)), shape=(len(texts), len(place)))
    norms = np.sqrt(found.multiply(found).sum(axis=1))
    return sparse.diags_array(1 / np.maximum(norms, 1e-9)) @ found


def models() -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """(name, (n, d) sentences, (m, d) bodies, (n,) the function of each sentence)."""
    found = sorted(functions(), key=lambda pair: pair[1])
    draw = np.random.default_rng(0)
    often = [i for i, (sentences, _) in enumerate(found) if len(sentences) >= 8]
    first = draw.permutation(often)[:SAID]
    rest = draw.permutation(sorted(set(range(len(found))) - set(first)))[: FUNCTIONS - len(first)]
    chosen = [found[i] for i in (*first, *rest)]
    own = np.repeat(np.arange(len(chosen)), [len(sentences) for sentences, _ in chosen])
    texts = [words(x) for sentences, _ in chosen for x in sentences]
    bodies = [words(body) for _, body in chosen]
    held = Counter(word for text in (*texts, *bodies) for word in text)
    place = {
        word: i
        for i, (word, _) in enumerate(sorted(held.items(), key=lambda x: (-x[1], x[0]))[:WORDS])
    }
    rarity = np.log((len(texts) + len(bodies)) / np.array([held[word] for word in place]))
    left, right = weighted(texts, place, rarity), weighted(bodies, place, rarity)
    opening = np.searchsorted(own, np.arange(len(chosen)))
    _, size, axes = svds(sparse.vstack([left[opening], right]), k=max(AXES), random_state=0)
    axes = axes[np.argsort(-size)].T
    sides = [torch.from_numpy(x @ axes).float() for x in (left, right)]
    of = torch.from_numpy(own)
    for d in AXES:
        yield f"{d} axes", sides[0][:, :d], sides[1][:, :d], of
    taught = torch.arange(len(chosen) - LEARNED, len(chosen))
    x, y = sides[0][torch.from_numpy(opening)[taught]], sides[1][taught]
    turn = torch.linalg.solve(x.T @ x + 2 * torch.eye(x.shape[1]), x.T @ y)
    kept = len(chosen) - LEARNED
    yield "ridge", sides[0][of < kept] @ turn, sides[1][:kept], of[of < kept]


def cells(texts: Tensor, bodies: Tensor, own: Tensor) -> Iterator[tuple[str, Pair, Tensor]]:
    """Draws: what it is, the similarity, and the item of each query."""
    opening = torch.searchsorted(own, torch.arange(len(bodies)))
    told = (texts.norm(dim=1)[opening] > 1e-3) & (bodies.norm(dim=1) > 1e-3)
    usable = told.nonzero()[:, 0]
    for n, draws in ((100, 10), (400, 4), (1000, 2), (2500, 1)):
        for seed in range(draws):
            some = usable[
                torch.randperm(len(usable), generator=torch.Generator().manual_seed(seed))
            ]
            sim = Pair(texts[opening[some[:n]]], bodies[some[:n]])
            right = torch.arange(sim.shape[0])
            yield f"{n} pairs", sim, right
            yield f"{n} pairs, bodies search", sim.T, right
    for m, wanted in ((400, 50), (400, 100), (1000, 100)):
        for seed in range(3):
            draw = torch.Generator().manual_seed(seed)
            asked = torch.randperm(SAID, generator=draw)[:wanted]
            beside = SAID + torch.randperm(len(bodies) - SAID, generator=draw)[: m - wanted]
            place = torch.full((len(bodies),), -1)
            place[asked] = torch.arange(wanted)
            rows = ((place[own] >= 0) & (texts.norm(dim=1) > 1e-3)).nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=draw)[:m]]
            yield (
                f"{m} sentences of {wanted} of {m}",
                Pair(texts[rows], bodies[torch.cat([asked, beside])]),
                place[own[rows]],
            )


def main() -> None:
    """Print the table, a row as soon as it is known."""
    warnings.simplefilter("ignore")
    print("| model | queries | raw | equality | now | now, scores | seen |")
    print("|---|---|---|---|---|---|---|")
    for model, texts, bodies, own in models():
        rows: dict[str, list[list[float]]] = {}
        for name, sim, right in cells(texts, bodies, own):
            scores = sim.scores()
            fits = [
                x.fit(y)
                for x, y in (
                    (Sinkhorn(rho=1.0), sim),
                    (Sinkhorn(), sim),
                    (Sinkhorn(), Dense(scores)),
                )
            ]
            hits = [
                100 * float(((scores + bias).argmax(dim=1) == right).double().mean())
                for bias in (0.0, *(x.gallery_bias for x in fits))
            ]
            rows.setdefault(name, []).append([*hits, float(fits[1].form == "repeats")])
        for name, found in rows.items():
            *figures, seen = np.mean(found, axis=0)
            shown = " | ".join(f"{x:.1f}" for x in figures)
            print(
                f"| {model} | {name} | {shown} | {seen * len(found):.0f} of {len(found)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
