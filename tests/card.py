"""A card that is none: tensors that say they lie on a device of their own, and are held by the CPU.

As on a card, numbers of two devices do not mix, and nothing becomes an array of numpy before it is
brought to the CPU. Run as a script, every method and every verb does its work on it:

    python tests/card.py            # {"method": "" or what went wrong, ...} as JSON
"""

import json
import sys
import traceback
import unittest.mock as mock
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

ABSENT = not hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
_ANYWHERE = "tensors of two devices: card and cpu"
# Operators whose result lies where `device` says, whatever they read.
_MOVING = {f"aten::{name}" for name in (
    "_to_copy", "to", "empty_like", "zeros_like", "ones_like", "full_like", "rand_like",
    "new_zeros", "new_full", "new_empty", "new_ones", "new_empty_strided",
)}  # fmt: skip
# A wrapper does not notice that its shape is changed in place.
_RESHAPING = {f"aten::{name}_": name for name in ("squeeze", "unsqueeze", "t", "transpose")}
_whole_tensor = torch.tensor


class OnCard(torch.Tensor):
    """Numbers that lie on the card."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls: type["OnCard"], held: torch.Tensor) -> "OnCard":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=card(),
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"OnCard({self.held!r})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        products = torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__
        if func in (*products, torch.Tensor.__rmatmul__):
            if not all(isinstance(x, OnCard) for x in args):
                raise RuntimeError(_ANYWHERE)
            return OnCard(func(*(x.held for x in args)))
        return torch._C._disabled_torch_function_impl(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a tensor on the card is no array; bring it to the CPU")

    __array__ = numpy

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> torch.Tensor:
        return tensor(data, dtype=dtype or self.dtype, device=device or self.device)


def card() -> torch.device:
    return torch.device("card", 0)


def on_card(device: Any) -> bool:
    return device is not None and torch.device(device).type == "card"


def tensor(data: Any, *, dtype: Any = None, device: Any = None, **rest: Any) -> torch.Tensor:
    """`torch.tensor`, which makes its numbers where no mode sees it."""
    held = data.held.clone() if isinstance(data, OnCard) else data
    made = _whole_tensor(held, dtype=dtype, **rest)
    return OnCard(made) if on_card(device) else made


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operator, where its tensors lie."""
    name, tensors = func._schema.name, list[torch.Tensor]()
    tree_map(lambda x: tensors.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
    on = [x for x in tensors if isinstance(x, OnCard)]
    target, here = kwargs.get("device"), bool(on)
    if target is not None and (name in _MOVING or not tensors):
        here = on_card(target)
    if on and name != "aten::copy_" and any(x.dim() for x in mixed(name, args, tensors)):
        raise RuntimeError(f"{_ANYWHERE} in {name}: {[tuple(x.shape) for x in tensors]}")
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}

    def plain(x: Any) -> Any:
        return x.held if isinstance(x, OnCard) else x

    if on and name in _RESHAPING:
        return OnCard(getattr(plain(args[0]), _RESHAPING[name])(*args[1:]))
    out = func(*tree_map(plain, args), **tree_map(plain, kwargs))
    # What is changed in place comes back as it was given.
    given = {id(x.held): x for x in on} | {id(x): x for x in tensors}

    def placed(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        same = given.get(id(x))
        if same is not None and same.shape == x.shape and same.stride() == x.stride():
            return same
        return OnCard(x) if here else x

    return tree_map(placed, out)


def mixed(name: str, args: Any, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that should lie on the card and do not; places to look at may lie anywhere."""
    if name.startswith("aten::index") and isinstance(args[0], OnCard):
        tensors = [x for x in args[2:3] if isinstance(x, torch.Tensor)]
        tensors = [] if name == "aten::index" else tensors
    return [x for x in tensors if not isinstance(x, OnCard)]


class _Everywhere(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


@contextmanager
def pretended() -> Iterator[torch.device]:
    """Inside there is a card."""
    from rerank.core import handed

    whole = handed.readable

    def readable(x: Any, *args: Any, **kwargs: Any) -> Any:
        return x if isinstance(x, OnCard) else whole(x, *args, **kwargs)

    users = [
        module for name, module in list(sys.modules.items())
        if name.startswith("rerank") and getattr(module, "readable", None) is whole
    ]  # fmt: skip
    for module in users:
        module.readable = readable
    try:
        with _Everywhere(), mock.patch.object(torch, "tensor", tensor):
            yield card()
    finally:
        for module in users:
            module.readable = whole


def sides(n: int = 160, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    texts = rng.standard_normal((n, 24)).astype("f4")
    return texts, texts + 1.5 * rng.standard_normal((n, 24)).astype("f4")


def lists(found: Any) -> list[np.ndarray]:
    return [found.t2v.scores, found.v2t.scores]


def cases(rerank: Any) -> dict[str, Callable[[torch.device], list[Any]]]:
    """What is done on a device, and gives numbers."""
    from rerank.methods.registry import METHODS

    texts, videos = sides()
    more, others = sides(140, 1)
    bank = {"bank_texts": more, "bank_videos": others}

    def applied(device: torch.device, *given: Any, **options: Any) -> list[Any]:
        return lists(rerank.apply(*given, k=5, device=device, **options))

    def of_method(name: str) -> Callable[[torch.device], list[Any]]:
        facts = METHODS.find(name).facts
        needed = bank if "gallery bank" in facts.needs else {}
        return lambda device: applied(device, texts, videos, method=name, **needed)

    def matrix(device: torch.device) -> list[Any]:
        scores = torch.from_numpy(texts @ videos.T).to(device)
        return [rerank.rerank(scores).cpu().numpy()]

    def judged(device: torch.device) -> list[Any]:
        sim = rerank.Pair(torch.from_numpy(texts).to(device), torch.from_numpy(videos).to(device))
        found = rerank.evaluate(sim, [[i] for i in range(len(texts))])
        return [found[side][figure] for side in ("t2v", "v2t") for figure in ("R@1", "MnR")]

    def served(device: torch.device) -> list[Any]:
        model = rerank.fit(videos, **bank, device=device)
        return [model.search(texts, k=5).scores]

    def compared(device: torch.device) -> list[Any]:
        right = [[i] for i in range(len(texts))]
        found = rerank.compare(texts, videos, right, methods=["em", "sinkhorn"], device=device)
        return [found.to_pandas().select_dtypes("number").to_numpy()]

    known = {"bank_gt": [[i] for i in range(len(more))]}
    return {
        **{name: of_method(name) for name in METHODS.cards()},
        "default": lambda device: applied(device, texts, videos),
        "few queries": lambda device: applied(device, texts[:50], videos),
        "repeated texts": lambda device: applied(device, np.repeat(texts, 3, 0), videos[:60]),
        "a bank": lambda device: applied(device, texts, videos, **bank),
        "known pairs": lambda device: applied(device, texts, videos, **bank, **known),
        "a bank that asks unevenly": lambda device: applied(
            device, texts, videos, bank_texts=np.repeat(texts[:20], 9, 0) + 0.3 * sides(180, 2)[0],
        ),
        "scores": lambda device: applied(device, scores=texts @ videos.T),
        "probabilities": lambda device: applied(device, scores=1 / (1 + np.exp(-texts @ videos.T))),
        "rerank": matrix, "evaluate": judged, "fit and search": served, "compare": compared,
    }  # fmt: skip


def wrong(case: Callable[[torch.device], list[Any]]) -> str:
    """How a case differs on the card; "" where it does not."""
    try:
        want = case(torch.device("cpu"))
        with pretended() as device:
            got = case(device)
    except Exception:
        return "".join(traceback.format_exc().splitlines(keepends=True)[-7:])
    for mine, theirs in zip(got, want, strict=True):
        if not np.allclose(mine, theirs, atol=1e-4, equal_nan=True):
            return f"numbers differ by {np.abs(np.subtract(mine, theirs)).max():.1e}"
    return ""


def main() -> None:
    backend_registration._setup_privateuseone_for_python_backend("card")
    warnings.simplefilter("ignore")
    import rerank

    print(json.dumps({name: wrong(case) for name, case in cases(rerank).items()}))


if __name__ == "__main__":
    main()
