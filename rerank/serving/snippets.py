"""The Python that queries one export: the folding in numpy, then the store's own lines."""

from pathlib import Path

from rerank.core.shell import words as typed_words
from rerank.serving.sidecar import DEFAULT_TABLE, Exported, side_car
from rerank.serving.stores.contract import Store, TableStore


def snippet_path(out: Path, table: str = DEFAULT_TABLE) -> Path:
    """Where it is saved: `videos.faiss` -> `videos.faiss.query.py`."""
    return side_car(out, table).with_suffix(".query.py")


def command(script: Path | str, k: int) -> str:
    """What a shell runs."""
    return f"{typed_words(['python', script])} QUERIES.npy {k}"


def snippet_text(out: Path, exported: Exported, store: Store) -> str:
    """A script that prints the names of the best items for embeddings in an .npy file."""
    table = store.table_name if isinstance(store, TableStore) else DEFAULT_TABLE
    name = snippet_path(out, table).name
    return (
        f"# Query it: {command(name, 10)}\n# It prints one line of names for each query.\n\n"
        "import json\nimport sys\nfrom pathlib import Path\n\nimport numpy as np\n\n"
        "here = Path(__file__).resolve().parent\n"
        f"side = np.load(here / {side_car(out, table).name!r})\n"
        'about = json.loads(str(side["manifest"]))\n'
        "q, k = np.load(sys.argv[1]).astype(float), int(sys.argv[2])  # (n, d) embeddings\n"
        f"{_checked(exported)}{_folding(exported)}"
        'q = q.astype("float32")\n\n'
        f"{store.snippet(out.name)}\n"
        "for row in names:\n"
        "    print(*row, sep='\\t')\n"
    )


def _checked(exported: Exported) -> str:
    """One line for embeddings of another encoder."""
    width = len(exported.head["head"]) if exported.head else exported.dimension
    return (
        f"if q.shape[1] != {width}:\n"
        f'    sys.exit(f"queries: got d = {{q.shape[1]}}, the index was made of d = {width}")\n'
    )


def _folding(exported: Exported) -> str:
    """Embeddings to query vectors, `Folding.queries` in numpy."""
    folding = exported.folding
    unit = "q /= np.linalg.norm(q, axis=1, keepdims=True)\n" if folding.metric == "cosine" else ""
    lines = []
    if exported.head:
        lines.append('q = q @ side["head"] + side["head_bias"]\n')
    lines.append(unit)
    if folding.centres is not None:
        lines.append(f'q -= side["query_mean"]\n{unit}')
    last = "np.ones((len(q), 1))"
    if folding.query_side == "raw":
        if folding.matrix is not None and folding.metric == "cosine":
            last = 'np.linalg.norm(q @ side["map"], axis=1, keepdims=True)'
    elif folding.matrix is not None:
        lines.append(f'q = q @ side["map"]\n{unit}')
    if folding.turns and folding.query_side == "mapped":
        lines.append('q = q @ side["turn"]\n')
    if folding.has_bias:
        lines.append(f"q = np.hstack([q, {last}])  # the bias\n")
    if folding.radius is not None:
        lines.append("q = np.hstack([q, np.zeros((len(q), 1))])  # makes all items equally long\n")
    return "".join(lines)
