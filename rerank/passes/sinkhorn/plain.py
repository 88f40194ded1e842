"""The passes of Sinkhorn in plain torch, for any similarity, type and device: the reference."""

import math

import torch
from torch import Tensor

from rerank.core import comm, progress
from rerank.core.errors import RerankError
from rerank.core.similarity import Axis, Similarity
from rerank.passes.threads import torch_threads

# Below this column mass a float32 sum of exponentials may have lost terms to underflow.
TINY_MASS = 1e-30
# Beyond this (and its inverse) float32 divides by a temperature into nothing or infinity.
_SMALLEST_TAU = 1e-30


def check_tau(tau: float) -> float:
    """A usable temperature: a positive, finite number in score units that float32 carries."""
    tau = float(tau)
    if not (tau > 0 and math.isfinite(tau)):
        raise RerankError(f"tau: got {tau}, expected a positive number in score units, or 'auto'")
    if not _SMALLEST_TAU <= tau <= 1 / _SMALLEST_TAU:
        raise RerankError(
            f"tau: got {tau:.3g}, expected between {_SMALLEST_TAU:.0e} and "
            f"{1 / _SMALLEST_TAU:.0e}, or 'auto'; scale the scores where they are as small or large"
        )
    return tau


def check_resolution(tau: float, scale: float, dtype: torch.dtype) -> None:
    """Refuse a temperature at which the last bit of a score changes its weight.

    Args:
        tau: temperature in score units.
        scale: size of the scores.
        dtype: their type.

    Raises:
        RerankError: scores of this size and type say nothing at this temperature.
    """
    least = 10 * torch.finfo(dtype).eps * scale
    if tau < least:
        name = str(dtype).removeprefix("torch.")
        raise RerankError(
            f"tau: got {tau:.3g}, expected at least {least:.1g}: {name} scores of about "
            f"{scale:.3g} carry no finer differences; give a larger tau or 'auto'"
        )


def finite_or_zero(x: Tensor) -> Tensor:
    """The finite values, and 0 for the others: what an empty row is shifted by."""
    return torch.where(torch.isfinite(x), x, torch.zeros_like(x))


def exp_over(x: Tensor, tau: float) -> Tensor:
    """exp(x / tau) in place."""
    # MKL's exp takes 7 to 20 ns where it underflows, and most of a sharp plan does; exp2 takes .5.
    return x.div_(tau * math.log(2)).exp2_()


def row_maxima(block: Tensor) -> Tensor:
    """(b,) largest entry of every row; -inf in a process that holds no items of the gallery."""
    if block.shape[1] == 0:
        return block.new_full((len(block),), -math.inf)
    return block.amax(dim=1)


def exp_rows(block: Tensor, tau: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turn a panel in place into exp((block - row max) / tau).

    Returns:
        The panel, its row maxima (b,) in score units (0 for rows without a finite score), and the
        row sums (b,).
    """
    top = finite_or_zero(row_maxima(block))
    exp_over(block.sub_(top[:, None]), tau)
    return block, top, block.sum(dim=1)


def logsumexp(sim: Similarity, tau: float, *, over: Axis, plus: Tensor | None = None) -> Tensor:
    """Log-sum-exp of (S + plus) / tau over one axis.

    over="gallery": out_i = log sum_j exp((S_ij + plus_j) / tau), (n,), plus (m,).
    over="queries": out_j = log sum_i exp((S_ij + plus_i) / tau), (m,), plus (n,).

    `tau` and `plus` are in score units, the result is not (multiply by tau).
    """
    tau = check_tau(tau)
    n, m = sim.shape
    with progress.task("log-sum-exp", n) as advance:
        if over == "gallery":
            out = torch.empty(n, dtype=sim.dtype, device=sim.device)
            for rows, block in sim.blocks():
                if plus is not None:
                    block.add_(plus)
                _, top, sums = exp_rows(block, tau)
                out[rows] = sums.log_().add_(top / tau)
                advance(len(block))
        else:
            out = torch.full((m,), -math.inf, dtype=sim.dtype, device=sim.device)
            for rows, block in sim.blocks():
                if plus is not None:
                    block.add_(plus[rows, None])
                top = finite_or_zero(block.amax(dim=0))
                sums = exp_over(block.sub_(top), tau).sum(dim=0)
                out = torch.logaddexp(out, sums.log_().add_(top / tau))
                advance(len(block))
    return comm.all_logsumexp(out) if sim.shard == over else out


def peaks(
    sim: Similarity, tau: float, *, query_bias: Tensor, gallery_bias: Tensor, column_shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Largest log share of every row of S + g and of every column of S + f, one pass.

        rows_i    = max_j (S_ij + g_j) / tau - log sum_j exp((S_ij + g_j) / tau)        (n,)
        columns_j = max_i (S_ij + f_i) / tau - log sum_i exp((S_ij + f_i) / tau)        (m,)

    Args:
        sim: the similarity.
        tau: temperature in score units.
        query_bias: (n,) f.
        gallery_bias: (m,) g.
        column_shift: (m,) roughly the second logarithm, so that one pass does for sum and maximum.
    """
    n, m = sim.shape
    row_max = torch.empty(n, dtype=sim.dtype, device=sim.device)
    row_sum = torch.empty_like(row_max)
    col_max = torch.full((m,), -math.inf, dtype=sim.dtype, device=sim.device)
    col_sum = torch.zeros(m, dtype=torch.float64, device=sim.device)
    shift = finite_or_zero(column_shift)
    offset = shift * tau
    with progress.task("shares", n) as advance:
        for rows, block in sim.blocks():
            _, row_max[rows], row_sum[rows] = exp_rows(block + gallery_bias, tau)
            block.add_(query_bias[rows, None])
            col_max = torch.maximum(col_max, block.amax(dim=0))
            col_sum += exp_over(block.sub_(offset), tau).sum(dim=0)
            advance(len(block))
    row_all = row_sum.log() + row_max / tau
    if sim.shard == "queries":
        col_max, col_sum = comm.all_max(col_max), comm.all_sum(col_sum)
    elif sim.shard == "gallery":
        # Where no item of this process is scored the maximum is none, and not the 0 that stands in.
        row_max = comm.all_max(torch.where(row_sum > 0, row_max, -math.inf))
        row_max, row_all = finite_or_zero(row_max), comm.all_logsumexp(row_all)
    return row_max / tau - row_all, col_max / tau - (col_sum.log().to(sim.dtype) + shift)


def sweep(
    sim: Similarity, tau: float, gallery_bias: Tensor, log_a: Tensor
) -> tuple[Tensor, Tensor]:
    """One pass of Sinkhorn: make the rows tight, and measure the columns while they are hot.

        f_i = tau (log a_i - log sum_j exp((S_ij + g_j) / tau))
        c_j = log sum_i exp((S_ij + f_i + g_j) / tau)

    Rows without any finite score get f = 0 and no mass.

    Returns:
        f (n,) in score units and c (m,), the log of the column masses under (f, g).
    """
    n, m = sim.shape
    f = torch.empty(n, dtype=sim.dtype, device=sim.device)
    mass = torch.zeros(m, dtype=torch.float64, device=sim.device)
    # Where the columns are split over processes a row is known only after all have summed it.
    log_rows = None
    if sim.shard == "gallery":
        log_rows = logsumexp(sim, tau, over="gallery", plus=gallery_bias)
    with progress.task("Sinkhorn sweep", n) as advance:
        for rows, block in sim.blocks():
            block, top, sums = exp_rows(block.add_(gallery_bias), tau)
            lse = sums.log().add_(top / tau) if log_rows is None else log_rows[rows]
            log_u = finite_or_zero(log_a[rows] - lse)
            f[rows] = log_u * tau
            # Where no item of this process is scored, 0 stands for the maximum of the row: its own
            # weight could overflow, and it has no terms to weigh.
            log_u.add_(top / tau).masked_fill_(sums == 0, -math.inf)
            # Products with a vector are cut where threads meet and sum there in another order; one
            # thread is as fast, and gives the same bytes whatever their number.
            with torch_threads(1):
                mass += torch.mv(block.T, log_u.exp_())
            advance(len(block))
    if sim.shard == "queries":
        mass = comm.all_sum(mass)
    log_mass, lost = mass.log().to(sim.dtype), mass < TINY_MASS
    if bool(lost.any()):
        # Columns whose terms underflowed are counted in the log domain.
        exact = logsumexp(sim, tau, over="queries", plus=f) + gallery_bias / tau
        log_mass = torch.where(lost, exact, log_mass)
    return f, log_mass
