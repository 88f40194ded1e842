"""`rerank doctor`: what is installed, and what is in the way."""

import typer

from rerank_cli.options import Json


def doctor_command(json: Json = False) -> None:
    """Show versions, devices and what is in the way.

    FAISS builds and their conflicts, threads and memory included.
    """
    from rerank_cli.console import emit, emit_json, table

    facts, problems = _facts()
    if json:
        emit_json({"facts": facts, "problems": problems})
    else:
        emit(table(["what", "found"], [[key, str(value)] for key, value in facts.items()]))
        for problem in problems:
            emit(f"problem: {problem}")
        if not problems:
            emit("no problems found")
    if problems:
        raise typer.Exit(1)


def _facts() -> tuple[dict[str, object], list[str]]:
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    import rerank

    facts: dict[str, object] = {
        "rerank": rerank.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    problems: list[str] = []
    packages = "torch numpy scipy h5py safetensors ir-measures numba pyarrow tokenizers"
    for name in packages.split():
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    found = []
    for name in ("faiss-cpu", "faiss-gpu"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    facts["faiss"] = ", ".join(found) or "not installed"
    if len(found) > 1:
        problems.append(
            "faiss-cpu and faiss-gpu are both installed and share their files: uninstall both, "
            "then install one of rerank-toolkit[cpu] and rerank-toolkit[gpu]"
        )
    try:
        import faiss

        gpus = getattr(faiss, "get_num_gpus", lambda: 0)()
        facts["faiss GPUs"] = gpus
    except ImportError as error:
        facts["faiss GPUs"] = 0
        if found:
            problems.append(f"FAISS is installed but does not import ({error}): reinstall it")
        else:
            problems.append("FAISS is missing: install rerank-toolkit[cpu] or rerank-toolkit[gpu]")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        facts["CUDA devices"] = ", ".join(names)
    else:
        facts["CUDA devices"] = "none"
    facts["threads"] = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    facts["memory"] = _memory()
    return facts, problems


def _memory() -> str:
    import os

    try:
        page, total = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{page * total / 1e9:.1f} GB, {page * free / 1e9:.1f} GB free"
