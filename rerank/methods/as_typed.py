"""Settings as somebody types them, judged before anything heavy is imported."""

from collections.abc import Sequence

from rerank.core.errors import RerankError
from rerank.methods.registry import canonical

# What stands for all methods in a list of names, and for what the gate chooses.
_WORDS = ("all", "gated")


def parse_tau(text: str | None) -> float | str | None:
    """A temperature as typed: a positive number or "auto".

    Raises:
        RerankError: anything else.

    >>> parse_tau("0.02"), parse_tau("auto")
    (0.02, 'auto')
    """
    if text is None or text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (value > 0 and value != float("inf")):
        raise RerankError(f"--tau: got {text!r}, expected a positive number or 'auto'")
    return value


def check_typed(
    *,
    methods: str | Sequence[str] | None = None,
    tau: str | None = None,
    rho: float | None = None,
    k: int | None = None,
) -> None:
    """Refuse what is wrong whatever the data are.

    Args:
        methods: one name, or several, also joined by commas.
        tau: a temperature as typed.
        rho: the softness of the gallery marginal.
        k: results per query.

    Raises:
        RerankError: an unknown method, an order that cannot be, or a number out of range.

    >>> check_typed(methods="em+sinkhorn", tau="auto", rho=0.5, k=10)
    """
    names = [methods] if isinstance(methods, str) else list(methods or ())
    for name in (part.strip() for text in names for part in text.split(",")):
        if name and name not in _WORDS:
            canonical(name)
    parse_tau(tau)
    if rho is not None and not 0 <= rho <= 1:
        raise RerankError(f"rho: got {rho}, expected between 0 and 1")
    if k is not None and k < 1:
        raise RerankError(f"k: got {k}, expected at least 1")
