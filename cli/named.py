"""Names from the registries for help and completion, looked up only where they are asked for."""

import sys
from collections.abc import Iterable


def shows_help() -> bool:
    """Whether this command line asks for help."""
    return bool({"--help", "-h"} & set(sys.argv[1:]))


def stores() -> str:
    """The stores, each with its line; nothing where no help is shown, so that starting is quick."""
    if not shows_help():
        return ""
    from rerank.serving.stores.registry import STORES

    return "; ".join(f"{name}: {card.help}" for name, card in STORES.cards().items())


def store_values(setting: str) -> str:
    """The values of a setting of stores, such as "flat, hnsw, ivf"."""
    return ", ".join(_of_stores(setting)) if shows_help() else ""


def _of_stores(setting: str) -> list[str]:
    from rerank.serving.stores.registry import all_choices

    values = [value for found in all_choices(setting).values() for value in found]
    return list(dict.fromkeys(values))


def figures() -> str:
    """The figures, such as "R@k, MdR"."""
    if not shows_help():
        return ""
    from rerank.metrics.registry import FIGURES

    return ", ".join(FIGURES.cards())


def endings() -> str:
    """The endings of files that are read, such as ".h5, .npy"."""
    if not shows_help():
        return ""
    from rerank.io.formats.registry import known_endings

    return ", ".join(known_endings())


def complete_methods(incomplete: str) -> list[str]:
    """Names of methods; after the last "+" or "," the next one."""
    from rerank.methods.registry import METHODS

    return _completed(incomplete, METHODS.cards())


def complete_figures(incomplete: str) -> list[str]:
    """Names of figures after the last ","; `R@k` as the usual three."""
    from rerank.metrics.registry import FIGURES

    names = [name for name in FIGURES.cards() if name != "R@k"]
    return _completed(incomplete, ["R@1", "R@5", "R@10", *names, "nDCG@10", "MRR"])


def complete_stores(incomplete: str) -> list[str]:
    """Names of stores."""
    from rerank.serving.stores.registry import STORES

    return _completed(incomplete, STORES.cards())


def complete_indexes(incomplete: str) -> list[str]:
    """Kinds of index of any store."""
    return _completed(incomplete, _of_stores("index"))


def complete_spaces(incomplete: str) -> list[str]:
    """What stores compare by."""
    return _completed(incomplete, _of_stores("space"))


def complete_objectives(incomplete: str) -> list[str]:
    """Names of objectives."""
    from rerank.train.objectives.registry import OBJECTIVES

    return _completed(incomplete, OBJECTIVES.cards())


def _completed(incomplete: str, names: Iterable[str]) -> list[str]:
    cut = max(incomplete.rfind("+"), incomplete.rfind(",")) + 1
    head, begun = incomplete[:cut], incomplete[cut:]
    return [head + name for name in names if name.startswith(begun)]
