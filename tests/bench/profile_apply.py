"""What `rerank apply` does with its time at 20k x 20k x 512, function by function, as Markdown.

    python tests/bench/profile_apply.py [--size 20000] [--method em+sinkhorn]
    OMP_NUM_THREADS=1 python tests/bench/profile_apply.py --cpu-time

Own time of every function under cProfile, files to files, importing included, in four groups:
products and searches (matrix products, FAISS), sweeps (exponentials, sums and maxima of panels, the
Numba kernels), files (reading, hashing, checking, writing), and Python (everything else).
"""

import argparse
import cProfile
import pstats
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GROUPS = {
    "products and searches": (
        r"IndexFlat|_linear_pointwise|inner_bfloat16|addmm|matmul|products\.py|\(map(ped)?\)|_moments|"
        r"_pair_spread|certified\.py|linalg"
    ),
    "sweeps": (
        r"'(exp2?_?|sum|amax|amin|div_|sub_|add_|mul_|log|double|topk|sort|argsort|gather|to|"
        r"copy_|acquire|maximum|index_add_|aminmax)'|kernels/|anderson\.py|potentials\.py|order\.py|"
        r"\((peaks|spread)\)|built-in method torch"
    ),
    "files": (
        r"/io/|h5py|_hashlib|hashing|row_hashes|blake2|arrays\.py|isfinite|hdf5|"
        r"'(read|write|encode)'"
    ),
}


def group(key: tuple[str, int, str]) -> str:
    """Which group a function belongs to."""
    name = f"{key[0]} ({key[2]}) {key[2]}"
    return next((group for group, pattern in GROUPS.items() if re.search(pattern, name)), "Python")


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20000)
    parser.add_argument("--method", default="em+sinkhorn")
    parser.add_argument("--cpu-time", action="store_true")
    given = parser.parse_args()
    profile = cProfile.Profile(time.process_time if given.cpu_time else time.perf_counter)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("texts.h5", "videos.h5", "out.h5")]
        # Made by a process of its own, so that what it imports is imported under the profile.
        made = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            f"from made import hard\nfrom rerank.io import write_embeddings\n"
            f"s, ids = hard({given.size}, {given.size}), [str(j) for j in range({given.size})]\n"
            f"write_embeddings({str(paths[0])!r}, ids, s.queries.numpy())\n"
            f"write_embeddings({str(paths[1])!r}, ids, s.gallery.numpy())"
        )
        subprocess.run([sys.executable, "-c", made], check=True)
        profile.enable()
        from rerank.tasks import apply as files

        files.apply_files(
            texts=paths[0], videos=paths[1], out=paths[2], settings={"method": given.method}
        )
        profile.disable()
    rows = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    own = {key: row[2] for key, row in rows.items()}
    importing = next(row[3] for key, row in rows.items() if key[2] == "_find_and_load")
    whole = sum(own.values())
    print(f"{given.size:,} x {given.size:,} x 512, {given.method}: {whole:.1f} s\n")
    print("| group | seconds | share | most of it |\n|---|---|---|---|")
    for name in (*GROUPS, "Python"):
        found = sorted(((t, key) for key, t in own.items() if group(key) == name), reverse=True)
        spent = sum(t for t, _ in found)
        most = ", ".join(f"{key[2].strip('<>')[-40:]} {t:.2f}" for t, key in found[:4])
        print(f"| {name} | {spent:.2f} | {spent / whole:.1%} | {most} |")
    print(f"\nimporting, in the last two groups: {importing:.2f} s")


if __name__ == "__main__":
    main()
