"""Two examples of every command: they end its help, and cli/README.md shows what they print.

They run in this order in the folder that `rerank demo` writes.
"""

_BOTH = "--texts texts.h5 --videos videos.h5"
_BANK = "--bank-texts bank_texts.h5 --bank-videos bank_videos.h5"

EXAMPLES: dict[str, tuple[str, str]] = {
    "demo": ("rerank demo", "rerank demo elsewhere"),
    "apply": (
        f"rerank apply {_BOTH}",
        f"rerank apply {_BOTH} {_BANK} --bank-gt bank_gt.json --out inductive.h5",
    ),
    "eval": (
        "rerank eval --gt gt.json",
        "rerank eval --gt gt.json --results inductive.h5 --report page.html",
    ),
    "compare": (
        f"rerank compare {_BOTH} --gt gt.json --methods sinkhorn,csls,is",
        f"rerank compare {_BOTH} --gt gt.json --methods sinkhorn,csls --columns R@1,MdR "
        "--format latex",
    ),
    "inspect": (f"rerank inspect {_BOTH}", "rerank inspect --videos videos.h5 --top 3"),
    "fit": (
        "rerank fit --videos videos.h5 --bank-texts bank_texts.h5",
        f"rerank fit --videos videos.h5 {_BANK} --keep-bank --out grows.safetensors",
    ),
    "export": (
        "rerank export --model model.safetensors --videos videos.h5 --out videos.faiss",
        "rerank export --model model.safetensors --videos videos.h5 --to npy --out videos.npy",
    ),
    "search": (
        "rerank search --model model.safetensors --videos videos.h5 --texts texts.h5 "
        "--out found.jsonl",
        "rerank search --index videos.faiss --texts texts.h5 --k 3 --out found.trec",
    ),
    "update": (
        "rerank update --model grows.safetensors --videos bank_videos.h5 --out grown.safetensors",
        "rerank update --model grows.safetensors --videos bank_videos.h5 --json",
    ),
    "tune": (
        "rerank tune --texts bank_texts.h5 --videos bank_videos.h5 --gt bank_gt.json "
        "--out settings.json",
        "rerank tune --texts bank_texts.h5 --videos bank_videos.h5 --gt bank_gt.json "
        "--method sinkhorn,csls --out few.json",
    ),
    "train": (
        "rerank train --texts bank_texts.h5 --videos bank_videos.h5 --gt bank_gt.json --epochs 2",
        "rerank train --texts bank_texts.h5 --videos bank_videos.h5 --gt bank_gt.json --epochs 3 "
        "--resume",
    ),
    "convert": (
        "rerank convert videos.h5 copy.h5",
        "rerank convert texts.h5 texts_copy.h5 --side texts --json",
    ),
    "methods": ("rerank methods", "rerank methods --json"),
    "plan": (f"rerank plan {_BOTH}", "rerank plan --queries 1e6 --gallery 1e5 --dim 512"),
    "doctor": ("rerank doctor", "rerank doctor --json"),
}  # fmt: skip


def shown(command: str, *, width: int = 76, indent: str = "  ") -> str:
    r"""A command on lines that fit, as a shell reads them.

    >>> print(shown("rerank fit --videos videos.h5 --out model.safetensors", width=40))
      rerank fit --videos videos.h5 \
        --out model.safetensors
    """
    parts = command.split(" --")
    lines = [indent + parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"{indent}  --{part}")
        else:
            lines[-1] += f" --{part}"
    return "\n".join(lines)


def epilog(name: str) -> str:
    """The end of a command's help; the mark keeps its lines apart."""
    return "\b\nExamples:\n" + "\n".join(shown(command) for command in EXAMPLES[name])
