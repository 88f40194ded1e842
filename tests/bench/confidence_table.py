"""Confidence and "no match" against the first score, its lead, and the entropy at tau.

    RERANK_DATA=... python tests/bench/confidence_table.py [set ...]

First table, on whole sets re-ranked by Sinkhorn on the test queries, without labels: AUROC and AURC
of right against wrong first results, and AUROC of queries whose item was taken out of the gallery
(10, 30 and 50 % of them, four draws). Second, calibrated: half of the pairs are the bank, the other
half is judged on its own gallery, four splits: calibration error before and after, of "no match"
too, and what a threshold of 80 % precision lets through. Third, with a real bank (msvd_aligned),
inductive.
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from real_sets import folder, load_pair, one_to_one_sets
from torch import Tensor

import rerank
from rerank.core.similarity import Dense
from rerank.methods.confidence import confidence_of
from rerank.methods.sinkhorn import Sinkhorn
from rerank.metrics.certainty import aurc, auroc, calibration_error
from rerank.passes import reduce

SHARES = (0.1, 0.3, 0.5)
DRAWS = 4


def reranked(scores: Tensor) -> tuple[Tensor, float]:
    """Scores with the biases of a fit on themselves, and its temperature."""
    fitted = Sinkhorn().fit(Dense(scores))
    return scores + fitted.gallery_bias, fitted.tau


def entropy(scores: Tensor, tau: float) -> np.ndarray:
    """Minus the entropy of every row's softmax."""
    p = torch.log_softmax(scores / tau, dim=1)
    return (p.exp() * p).sum(dim=1).numpy()


def signals(scores: Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What might tell right from wrong, by name, and the first item of every query."""
    better, tau = reranked(scores)
    out = {}
    for when, x in (("raw", scores), ("re-ranked", better)):
        top = reduce.topk(Dense(x), 2).scores
        out[f"{when} first score"] = top[:, 0].numpy()
        out[f"{when} lead"] = (top[:, 0] - top[:, 1]).numpy()
        out[f"{when} entropy"] = entropy(x, tau)
    sure = confidence_of(Dense(better)).of(Dense(better))
    out["confidence"] = sure.confidence
    out["no match"] = 1 - sure.no_match
    return out, better.argmax(dim=1).numpy()


def sets(names: list[str]) -> Iterator[tuple[str, Tensor]]:
    """Square scores in both directions; esc50 leaves nothing wrong."""
    for name, scores in one_to_one_sets(names):
        if not name.startswith(("softmax", "log-odds", "esc50")):
            yield name, scores


def without_labels(names: list[str]) -> None:
    """First table."""
    found: dict[str, dict[str, list[float]]] = {}

    def note(signal: str, figure: str, value: float | None) -> None:
        if value is not None:
            found.setdefault(signal, {}).setdefault(figure, []).append(value)

    for _, scores in sets(names):
        told, first = signals(scores)
        right = first == np.arange(len(scores))
        for signal, value in told.items():
            note(signal, "AUROC", auroc(value, right))
            note(signal, "AURC", aurc(value, right))
        for share in SHARES:
            for draw in range(DRAWS):
                generator = torch.Generator().manual_seed(draw)
                gone = torch.randperm(len(scores), generator=generator)
                kept = torch.ones(len(scores), dtype=torch.bool)
                kept[gone[: round(share * len(scores))]] = False
                there, _ = signals(scores[:, kept])
                for signal, value in there.items():
                    note(signal, f"gone {share:.0%}", auroc(value, kept.numpy()))
    figures = ["AUROC", "AURC", *(f"gone {share:.0%}" for share in SHARES)]
    print(f"| {' | '.join(['signal', *figures])} |\n|{'---|' * (len(figures) + 1)}")
    for signal, values in found.items():
        cells = []
        for figure in figures:
            x = np.array(values[figure])
            cells.append(f"{x.mean():.3f} ± {1.96 * x.std(ddof=1) / len(x) ** 0.5:.3f}")
        print(f"| {signal} | {' | '.join(cells)} |")
    for ours, figures_of in (("confidence", figures[:2]), ("no match", figures[2:])):
        for signal, values in found.items():
            if signal not in ("confidence", "no match"):
                cells = []
                for figure in figures:
                    x = np.array(found[ours][figure]) - np.array(values[figure])
                    error = 1.96 * x.std(ddof=1) / len(x) ** 0.5
                    cells.append(f"{x.mean():+.3f} ± {error:.3f}" if figure in figures_of else "")
                print(f"| {ours} against {signal} | {' | '.join(cells)} |")


def calibrated(names: list[str]) -> None:
    """Second table."""
    print(
        "\n| set | AUROC | error before, % | after | no match: AUROC | error, % | answered at 80 % "
        "| right | unanswerable refused |"
    )
    print(f"|{'---|' * 9}")
    everything = []
    for name, scores in sets(names):
        rows = []
        for draw in range(DRAWS):
            order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(draw))
            halves = order[: len(order) // 2], order[len(order) // 2 :]
            (bank, _), (test, _) = (reranked(scores[half][:, half]) for half in halves)
            plain = confidence_of(Dense(bank))
            settings = confidence_of(Dense(bank), [np.array([i]) for i in range(len(bank))])
            sure = settings.of(Dense(test))
            right = test.argmax(dim=1).numpy() == np.arange(len(test))
            alone = test.clone().fill_diagonal_(-torch.inf)
            gone = settings.of(Dense(alone, unscored=True))
            unmatched = np.concatenate([sure.no_match, gone.no_match])
            truth = np.repeat([False, True], len(test))
            answered = sure.confidence >= settings.cut(0.8)
            rows.append([
                auroc(sure.confidence, right) or np.nan,
                100 * calibration_error(plain.of(Dense(test)).confidence, right),
                100 * calibration_error(sure.confidence, right),
                auroc(unmatched, truth) or np.nan, 100 * calibration_error(unmatched, truth),
                100 * answered.mean(), 100 * right[answered].mean() if answered.any() else np.nan,
                100 * (gone.confidence < settings.cut(0.8)).mean(),
            ])  # fmt: skip
        everything.append(np.nanmean(rows, axis=0))
        print(row(name, everything[-1]), flush=True)
    print(row("mean", np.mean(everything, axis=0)))


def row(name: str, x: np.ndarray) -> str:
    """One line of the second table."""
    return (
        f"| {name} | {x[0]:.3f} | {x[1]:.1f} | {x[2]:.1f} | {x[3]:.3f} | {x[4]:.1f} | {x[5]:.0f} % "
        f"| {x[6]:.1f} % | {x[7]:.0f} % |"
    )


def banked() -> None:
    """Third table."""
    base = folder() / "msvd_aligned"
    data = load_pair("msvd_aligned")
    run = rerank.apply(
        str(base / "texts.h5"), str(base / "videos.h5"), bank_texts=str(base / "bank_texts.h5"),
        bank_videos=str(base / "bank_videos.h5"), bank_gt=str(base / "bank_gt.json"),
    )  # fmt: skip
    own = data.video_of.numpy()
    positives = {
        "t2v": [np.array([video]) for video in own],
        "v2t": [np.flatnonzero(own == video) for video in range(data.sim.shape[1])],
    }
    print("\n| direction | AUROC | error, % | answered at 80 % | right |\n|---|---|---|---|---|")
    for name, said in run.confidence(0.8).items():
        first = getattr(run, name).topk.indices[:, 0].numpy()
        right = np.array([j in rows for j, rows in zip(first, positives[name], strict=True)])
        sure = said.sure.confidence
        answered = sure >= (said.cut or 0)
        print(
            f"| {name} | {auroc(sure, right):.3f} | {100 * calibration_error(sure, right):.1f} "
            f"| {100 * answered.mean():.0f} % | {100 * right[answered].mean():.1f} % |"
        )


def main() -> None:
    """Measure and print."""
    names = sys.argv[1:]
    without_labels(names)
    calibrated(names)
    if not names:
        banked()


if __name__ == "__main__":
    main()
