"""Names from the registries in help texts, looked up only where help is about to be shown."""

import sys


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
    if not shows_help():
        return ""
    from rerank.serving.stores.registry import all_choices

    values = [value for found in all_choices(setting).values() for value in found]
    return ", ".join(dict.fromkeys(values))
