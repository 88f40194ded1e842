"""Mapped files that are read in blocks are not counted as held, and read the same again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rerank.io.opening import open_container
from rerank.io.pages import lies_in

STATUS = Path("/proc/self/status")
ROWS = 60_000


def of_files() -> int:
    """Bytes of mapped files that are counted as memory of this process."""
    line = next(x for x in STATUS.read_text().splitlines() if x.startswith("RssFile"))
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not STATUS.is_file(), reason="needs Linux")
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_of_tensors_are_given_back(tmp_path, kind, dtype):
    path = tmp_path / f"v.{kind}"
    whole = torch.randn(ROWS, 256).to(dtype)
    (torch.save if kind == "pt" else save_file)({"clip": whole}, path)
    with open_container(path) as container:
        field = container.fields["clip"]
        before, most, at = of_files(), 0, 0
        for _ in range(2):
            at = 0
            for block in field.blocks(0, ROWS):
                np.testing.assert_array_equal(block, whole[at : at + len(block)].float().numpy())
                at += len(block)
                most = max(most, of_files() - before)
        assert at == ROWS
    assert most < whole.nbytes / 2


def test_memory_of_its_own_is_no_file(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"x" * 10_000)
    assert not lies_in(path, np.zeros(5).ctypes.data)
    assert lies_in(path, np.memmap(path, mode="r").ctypes.data) == STATUS.is_file()
