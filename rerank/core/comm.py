"""Collectives over processes: `torch.distributed`, or nothing at all.

Every function is the identity without a process group, so the code above is written once.
The passes (`reduce`, `order`, `moments`, `items`, the kernels), what Sinkhorn sums over its
potentials, search, the readers and the entry points import this module.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Seconds between two looks at the launcher.
_LOOK_S = 5.0


def active() -> bool:
    """Whether a process group is up."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process, counted from 0."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if active() else 1


def start_from_environment(*, timeout_s: float = 600.0) -> bool:
    """Join the process group that `torchrun` describes in the environment.

    Returns whether there is one. NCCL where every process has a GPU of its own, and gloo for what
    is on the CPU; else gloo alone.
    """
    if active():
        return True
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return False
    local = int(os.environ.get("LOCAL_RANK", "0"))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    nccl = torch.cuda.is_available() and torch.cuda.device_count() >= local_world
    if nccl:
        torch.cuda.set_device(local)
    # Counts, names and finished rows are exchanged on the CPU, which NCCL does not do.
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_watch_launcher, args=(os.getppid(),), daemon=True).start()
    return True


def _watch_launcher(launcher: int) -> None:
    """End this process when `torchrun` is no more; nobody would end it otherwise."""
    while os.getppid() == launcher:
        time.sleep(_LOOK_S)
    os.write(2, b"error: the launcher of this process has ended, so it ends too\n")
    os.kill(os.getpid(), signal.SIGTERM)  # which cleans up, unless a collective waits for others
    time.sleep(_LOOK_S)
    os._exit(1)


def stop() -> None:
    """Leave the process group, if there is one."""
    if active():
        dist.destroy_process_group()


def all_sum(x: Tensor) -> Tensor:
    """Sum over processes, elementwise."""
    if not active():
        return x
    out = x.clone()
    dist.all_reduce(out, op=dist.ReduceOp.SUM)
    return out


def all_max(x: Tensor) -> Tensor:
    """Maximum over processes, elementwise."""
    if not active():
        return x
    out = x.clone()
    dist.all_reduce(out, op=dist.ReduceOp.MAX)
    return out


def all_logsumexp(x: Tensor) -> Tensor:
    """The log-sum over processes of exp(x), elementwise; -inf stands for an empty sum."""
    if not active():
        return x
    top = all_max(x)
    # Where every process has an empty sum, top is -inf and x - top would be NaN.
    safe = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    return safe + all_sum((x - safe).exp()).log()


def everywhere(flag: bool) -> bool:
    """Whether something holds in every process, so that all of them take the same road."""
    return int(all_sum(torch.tensor(0 if flag else 1))) == 0


def disagreement(x: Tensor) -> Tensor:
    """Largest difference between two processes, elementwise; 0 where all hold the same numbers."""
    return all_max(x) + all_max(-x)


def gather_rows(x: Tensor) -> Tensor:
    """Concatenate the rows of all processes in rank order; shards may differ in length."""
    if not active():
        return x
    counts = gather_counts(x.shape[0], device=x.device)
    longest = max(counts)
    padded = x.new_zeros((longest, *x.shape[1:]))
    padded[: x.shape[0]] = x
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_counts(count: int, *, device: torch.device | None = None) -> list[int]:
    """The number that each process holds, in rank order."""
    if not active():
        return [count]
    mine = torch.tensor([count], dtype=torch.int64, device=device)
    parts = [torch.empty_like(mine) for _ in range(world_size())]
    dist.all_gather(parts, mine)
    return [int(part.item()) for part in parts]


def gather_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Concatenate the names of all processes in rank order."""
    return tuple(name for part in gather_objects(names) for name in part)


def gather_objects(mine: Any) -> list[Any]:  # noqa: ANN401  whatever processes share
    """What every process holds, in rank order."""
    if not active():
        return [mine]
    parts: list[Any] = [None] * world_size()
    dist.all_gather_object(parts, mine)
    return parts


def rows_to_first(blocks: Iterable[Tensor], *, dtype: torch.dtype) -> Iterator[Tensor]:
    """The blocks of rows of all processes in rank order, in the first process, one at a time.

    Every process has to walk through its own iterator; those of the others yield nothing.

    Args:
        blocks: (b, m) rows of this process, on the CPU.
        dtype: of the blocks, the same everywhere.
    """
    if not active():
        yield from blocks
        return
    for owner in range(world_size()):
        mine = iter(blocks if owner == rank() else ())
        while True:
            block = next(mine, None)
            # All wait for every block, so that none waits longer than it takes to write one.
            size = torch.tensor([-1, 0] if block is None else list(block.shape))
            dist.broadcast(size, src=owner)
            rows, columns = size.tolist()
            if rows < 0:
                break
            if owner == 0:
                if block is not None:
                    yield block
            elif block is not None:
                dist.send(block.contiguous(), dst=0)
            elif rank() == 0:
                received = torch.empty((rows, columns), dtype=dtype)
                dist.recv(received, src=owner)
                yield received


def my_rows(n: int) -> slice:
    """The contiguous share of `n` rows that this process reads; the first shards get the rest."""
    size, extra = divmod(n, world_size())
    me = rank()
    start = me * size + min(me, extra)
    return slice(start, start + size + (me < extra))


def barrier() -> None:
    """Wait for every process."""
    if active():
        dist.barrier()
