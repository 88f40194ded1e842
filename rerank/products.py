"""Inner products of two sets of rows, by the fastest exact route that this build of torch has."""

import torch
from torch import Tensor


def _onednn() -> bool:
    """Whether torch carries oneDNN's linear operator, several times MKL's speed off Intel."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_HAS_ONEDNN = _onednn()


def inner(queries: Tensor, gallery: Tensor) -> Tensor:
    """(b, m) inner products of (b, d) and (m, d) rows, in their own precision, fresh memory."""
    if (
        _HAS_ONEDNN
        and queries.device.type == "cpu"
        and queries.dtype == torch.float32
        and min(*queries.shape, *gallery.shape) > 1
        and not (queries.requires_grad or gallery.requires_grad)
        and torch.backends.mkldnn.enabled  # type: ignore[attr-defined]
    ):
        return torch.ops.mkldnn._linear_pointwise(queries, gallery, None, "none", [], "")
    return queries @ gallery.T


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run on instructions of their own here."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type != "cpu" or not _HAS_ONEDNN:
        return False
    # oneDNN also "supports" bfloat16 by emulation; only dot-product instructions make it fast.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def inner_bfloat16(queries: Tensor, gallery: Tensor) -> Tensor:
    """(b, m) bfloat16 inner products of bfloat16 rows: for statistics, never for ranking."""
    return queries @ gallery.T
