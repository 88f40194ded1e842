"""Stores by name, effort by measurement, and query scripts that run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rerank.core.errors import RerankError
from rerank.serving import snippets
from rerank.serving.exporting import export, search_export
from rerank.serving.fitting import fit_model
from rerank.serving.recall import reach
from rerank.serving.sidecar import side_car
from rerank.serving.stores.contract import Store, rising
from rerank.serving.stores.registry import STORES, make_store
from tests.serving.test_export import LIBRARIES, postgres, server
from tests.serving_data import make

assert postgres and server  # fixtures
IDS, GALLERY, QUERIES, BANK, _ = make()
IDS, GALLERY = IDS[:60], GALLERY[:60]
ROOT = Path(__file__).resolve().parents[2]
TABLES = {"qdrant": "collection", "lancedb": "table", "pgvector": "table"}


@pytest.fixture(scope="module")
def model():
    return fit_model(IDS, GALLERY, BANK, method="sinkhorn", tau=0.05, rho=1.0)


@pytest.fixture(scope="module")
def best(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("exact") / "exact"
    export(model, IDS, GALLERY, out, to="npy")
    return named(out)


def named(out, **options):
    exported, found = search_export(out, QUERIES, 5, **options)
    return [[exported.ids[j] for j in row] for row in found.indices.tolist()]


# --- the registry


@pytest.mark.parametrize("name", list(STORES))
def test_every_store_keeps_the_protocol_and_says_what_it_needs(name):
    store: Store = make_store(name)
    card = STORES[name]
    assert store.space in ("ip", "cosine", "l2") and card.help
    assert bool(card.facts.effort) == bool(
        store.efforts(1000) or any(make_store(name, index=i).efforts(1000) for i in indexes(name))
    )
    assert (card.facts.package == "") == (name == "npy")


def indexes(name):
    return ("hnsw", "ivf") if name == "faiss" else ()


PLUGIN = """
from dataclasses import dataclass
import numpy as np
import rerank
from rerank.serving.stores.contract import BaseStore, brute_force


@rerank.store("textfile", help="numbers as text, for people")
@dataclass(frozen=True)
class TextFile(BaseStore):
    digits: int = 9
    space: str = "ip"

    def write(self, target, vectors, ids, *, stamp):
        np.savetxt(target, vectors, fmt=f"%.{self.digits}g")

    def search(self, target, queries, k, *, effort=None):
        return brute_force(np.loadtxt(target, dtype="float32"), queries, k, self.space)

    def snippet(self, target):
        return (
            f"scores = np.sort(q @ np.loadtxt(here / {target!r}).T)[:, :-k - 1:-1]\\n"
            f"names = side['ids'][np.argsort(-q @ np.loadtxt(here / {target!r}).T)[:, :k]]\\n"
        )
"""


def test_a_store_from_outside_the_package_is_one_file(tmp_path, model, best):
    (tmp_path / "my_store.py").write_text(PLUGIN)
    (tmp_path / "run.py").write_text(
        "import sys, numpy as np, rerank\n"
        "from tests.serving.test_stores import BANK, GALLERY, IDS, named\n"
        "told = {'method': 'sinkhorn', 'tau': 0.05, 'rho': 1.0}\n"
        "model = rerank.fit(GALLERY, ids=IDS, bank_texts=BANK, **told)\n"
        "made = model.export('textfile', sys.argv[1], digits=8)\n"
        "assert made.manifest['recall']['overlap'] == 1.0\n"
        "from pathlib import Path\nprint(named(Path(sys.argv[1])))\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "RERANK_PLUGINS": "my_store"}

    def run(*line):
        return subprocess.run(
            [sys.executable, *line], env=env, capture_output=True, text=True, cwd=tmp_path
        )

    done = run("run.py", "out.txt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(best)
    shown = run("-m", "rerank_cli", "export", "--help")
    text = " ".join(shown.stdout.split())
    assert "textfile: numbers as text, for people" in text, shown.stderr
    assert all(name in text for name in STORES)
    model_file = tmp_path / "m.safetensors"
    import rerank

    rerank.fit(GALLERY, bank_texts=BANK, method="is", tau=0.05).save(model_file)
    wrong = run("-m", "rerank_cli", "export", "--model", str(model_file), "--out", "o", "--to", "x")
    assert wrong.returncode == 2 and "pgvector, usearch, textfile" in wrong.stderr
    good = run(
        "-m", "rerank_cli", "export", "--model", str(model_file), "--out", "o", "--to", "textfile",
        "--option", "digits=7",
    )  # fmt: skip
    assert good.returncode == 0 and "found 1.0000" in good.stdout, good.stderr


# --- effort by measurement


def test_the_least_effort_that_reaches_the_target_is_taken():
    found = {1: 0.5, 2: 0.9, 4: 0.97, 8: 1.0}
    assert reach(found.__getitem__, (1, 2, 4, 8), 0.9).effort == 2
    assert reach(found.__getitem__, (1, 2, 4, 8), 0.98).effort == 8
    short = reach(found.__getitem__, (1, 2), 0.98)
    assert (short.effort, short.overlap) == (2, 0.9)
    assert reach({None: 1.0}.__getitem__, (), 0.98).effort is None
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(RerankError, match="recall: got"):
            reach(found.__getitem__, (1,), wrong)


def test_efforts_rise_to_the_last():
    assert rising(16, 100) == (16, 24, 32, 48, 64, 96, 100)
    assert rising(1, 7) == (1, 2, 3, 4, 6, 7)
    assert rising(1, 1) == (1,)
    assert rising(16, 16) == (16,)


@pytest.mark.parametrize(("to", "index"), [("faiss", "hnsw"), ("faiss", "ivf"), ("usearch", None)])
def test_the_effort_that_was_measured_is_the_one_that_is_searched_with(tmp_path, to, index):
    pytest.importorskip(LIBRARIES[to])
    rng = np.random.default_rng(0)
    items, queries = rng.normal(size=(3000, 48)), rng.normal(size=(100, 48))
    bank, names = rng.normal(size=(300, 48)), [f"i{j}" for j in range(3000)]
    wide = fit_model(names, items, bank, method="is", tau=0.05, keep_bank=True)
    settings = {} if index is None else {"index": index}
    made = export(
        wide, names, items, tmp_path / "i", to=to, queries=queries, recall=0.9, **settings
    )
    effort, recall = made.manifest["effort"], made.manifest["recall"]
    assert recall["overlap"] >= 0.9 and effort > 1
    exact = export(wide, names, items, tmp_path / "e", to="npy")
    assert exact.manifest["recall"]["queries_from"] == "bank"

    def found(**options) -> float:
        rows = [search_export(tmp_path / n, queries, 10, **o)[1].indices.numpy()
                for n, o in (("i", options), ("e", {}))]  # fmt: skip
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*rows, strict=True)])

    assert found() == pytest.approx(recall["overlap"], abs=1e-3)
    assert found(effort=3000) > found() > found(effort=1)
    again = export(wide, names, items, tmp_path / "j", to=to, queries=queries, effort=effort,
                   **settings)  # fmt: skip
    assert again.manifest["recall"]["overlap"] == recall["overlap"]
    assert (tmp_path / "i").read_bytes() == (tmp_path / "j").read_bytes()


# --- every store is read back, by us and by its script


@pytest.mark.parametrize("to", list(STORES))
@pytest.mark.parametrize("space", ["ip", "l2"])
def test_every_store_is_searched_by_name_and_by_its_script(
    tmp_path, request, model, best, to, space
):
    pytest.importorskip(LIBRARIES[to])
    settings = {} if to == "faiss" else {"space": space}
    if to == "faiss" and space == "l2":
        settings = {"index": "ivf", "recall": 1.0}
    env, url = dict(os.environ), None
    if to == "pgvector":
        url = env["DATABASE_URL"] = request.getfixturevalue("postgres")
        settings["url"] = url
    export(model, IDS, GALLERY, tmp_path / "out", to=to, queries=QUERIES, **settings)
    exact = search_export_of(tmp_path, model)
    exported, found = search_export(tmp_path / "out", QUERIES, 5, url=url)
    assert [[exported.ids[j] for j in row] for row in found.indices.tolist()] == best
    np.testing.assert_allclose(found.scores, exact, atol=2e-5)
    np.save(tmp_path / "q.npy", 3 * QUERIES)
    script = [sys.executable, tmp_path / "out.query.py", tmp_path / "q.npy", "5"]
    done = subprocess.run(script, env=env, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert [line.split("\t") for line in done.stdout.splitlines()] == best


def search_export_of(tmp_path, model):
    export(model, IDS, GALLERY, tmp_path / "exact", to="npy")
    return search_export(tmp_path / "exact", QUERIES, 5)[1].scores


@pytest.mark.parametrize("method", ["em+sinkhorn", "center+nnn", "em", "none"])
@pytest.mark.parametrize("side", ["mapped", "raw"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_scripts_fold_as_we_do(tmp_path, method, side, metric):
    _, gallery, _, bank, bank_gallery = make(m=60)
    fitted = fit_model(IDS, gallery, bank, bank_gallery=bank_gallery, method=method, metric=metric)
    if "center" in method and side == "raw":
        pytest.skip("clients that send raw queries cannot centre them")
    export(fitted, IDS, gallery, tmp_path / "o", to="npy", query_side=side, space="cosine")
    queries = 3 * QUERIES if metric == "cosine" else QUERIES
    np.save(tmp_path / "q.npy", queries)
    text = (tmp_path / "o.query.py").read_text()
    scope = {"__file__": str(tmp_path / "o.query.py"), "__name__": "x"}
    argv, sys.argv = sys.argv, ["x", str(tmp_path / "q.npy"), "5"]
    try:
        exec(compile(text.rpartition("for row in names")[0], "o.query.py", "exec"), scope)
    finally:
        sys.argv = argv
    exported, found = search_export(tmp_path / "o", queries, 5)
    assert scope["names"] == [[exported.ids[j] for j in row] for row in found.indices.tolist()]


@pytest.mark.parametrize("to", ["lancedb", "qdrant", "pgvector"])
def test_tables_are_named_refused_and_replaced(tmp_path, request, model, to):
    pytest.importorskip(LIBRARIES[to])
    url = request.getfixturevalue("postgres") if to == "pgvector" else None
    place = {} if url is None else {"url": url}
    out, other = tmp_path / "out", {TABLES[to]: f"second_{os.getpid()}"}
    few = fit_model(IDS[:20], GALLERY[:20], BANK, method="is", tau=0.05)
    export(model, IDS, GALLERY, out, to=to, **place)
    first = named(out, url=url)
    export(few, IDS[:20], GALLERY[:20], out, to=to, **place, **other)
    second = named(out, url=url, table=other[TABLES[to]])
    assert first == named(out, url=url) != second
    with pytest.raises(RerankError, match="is there already; give replace=True"):
        export(few, IDS[:20], GALLERY[:20], out, to=to, **place)
    assert named(out, url=url) == first
    for _ in range(2):
        export(few, IDS[:20], GALLERY[:20], out, to=to, replace=True, **place)
        assert named(out, url=url) == second
    # The side-car of one table is not taken for another's.
    side_car(out).write_bytes(side_car(out, other[TABLES[to]]).read_bytes())
    export(model, IDS, GALLERY, out, to=to, replace=True, **place)
    assert named(out, url=url) == first


def test_what_cannot_be_searched_says_so(tmp_path, model):
    pytest.importorskip("faiss")
    export(model, IDS, GALLERY, tmp_path / "out", to="npy")
    with pytest.raises(RerankError, match="leave url out"):
        named(tmp_path / "out", url="http://localhost")
    with pytest.raises(RerankError, match="searched exactly"):
        named(tmp_path / "out", effort=3)
    with pytest.raises(RerankError, match="cannot be read"):
        named(tmp_path / "nothing")
    with pytest.raises(RerankError, match="table.npz: cannot be read"):
        named(tmp_path / "out", table="table")


@pytest.mark.parametrize("name", ["my videos", "o'x", 'o"$HOME"', "two\nlines", "o\udcff", "é"])
def test_printed_commands_are_typed_as_the_shell_reads_them(tmp_path, name):
    printed = [snippets.command(tmp_path / f"{name}.query.py", 3).removeprefix("python ")]
    text = make_store("pgvector").snippet(str(tmp_path / f"{name}.sql"))
    lines = [line for line in text.splitlines() if "psql -f" in line]
    printed += [line.partition("psql -f ")[2] for line in lines]
    for words, ending in zip(printed, ("query.py", "sql"), strict=True):
        (tmp_path / f"{name}.{ending}").write_text("here")
        typed = words.replace(" QUERIES.npy 3", "").replace(" $DATABASE_URL", "")
        read = subprocess.run(["bash", "-c", f"cat {typed}"], capture_output=True, text=True)
        assert (read.stdout, read.stderr) == ("here", "")
