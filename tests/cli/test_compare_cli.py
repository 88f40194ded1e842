"""`rerank compare` and `rerank inspect` on files, in one process."""

import json
import re

import numpy as np
import pytest

from rerank.core.similarity import Pair
from rerank.metrics import ranks as metrics
from rerank_cli import app


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*args, code=0):
        monkeypatch.setattr("sys.argv", ["rerank", *map(str, args)])
        with pytest.raises(SystemExit) as left:
            app.main()
        said = capsys.readouterr()
        assert (left.value.code or 0) == code, said.err
        return said.out, said.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory, golden):
    where = tmp_path_factory.mktemp("files")
    for role in ("texts", "videos", "bank_texts", "bank_videos"):
        name = role.removeprefix("bank_")[0]
        ids = np.array([f"{role[0]}{name}{i}" for i in range(len(golden[role]))])
        np.savez(where / f"{role}.npz", embeddings=golden[role].astype("float32"), ids=ids)
    truth = {f"tt{i}": f"vv{j}" for i, j in enumerate(golden["gt"])}
    (where / "gt.json").write_text(json.dumps(truth))
    return where


def files(folder):
    return ["--videos", folder / "videos.npz", "--texts", folder / "texts.npz"]


def test_compare_prints_tables_and_writes_a_report(run, folder, tmp_path):
    page = tmp_path / "report.html"
    out, err = run(
        "compare", *files(folder), "--gt", folder / "gt.json", "--methods", "sinkhorn,csls",
        "--resamples", 100, "--report", page, "--figures", "R@1,R@50,nDCG@10",
    )  # fmt: skip
    assert "transductive" in out and "sinkhorn" in out and "R@50" in out and "nDCG@10" in out
    assert "wrote" in err
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "vv" in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_page_draws_the_best_method_of_each_table(run, folder, tmp_path):
    page = tmp_path / "report.html"
    out, _ = run(
        "compare", *files(folder), "--gt", folder / "gt.json", "--methods", "sinkhorn",
        "--resamples", 100, "--report", page, "--format", "json", "--cross-fit",
    )  # fmt: skip
    text = page.read_text(encoding="utf-8")
    # Once for each direction; the halves of a cross-fit have galleries of their own.
    for title in ("Scores of right and other pairs", "Confidence and truth",
                  "R@1 against the temperature"):  # fmt: skip
        assert text.count(f"<h3>{title}</h3>") == 2, title
    # Refitted at the chosen temperature the curve passes through the table.
    drawn = [float(of) for of in re.findall(r"The chosen \S+ gives R@1 ([\d.]+\d)", text)]
    rows = [t["rows"][1]["R@1"] for t in json.loads(out)["tables"] if t["label"] == "transductive"]
    assert drawn == pytest.approx(rows, abs=1.7)
    run(
        "compare", *files(folder), "--gt", folder / "gt.json", "--methods", "csls",
        "--resamples", 100, "--report", page, "--force",
    )  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert "against the temperature" not in text and "Confidence and truth" not in text
    assert text.count("transductive, csls: There is no curve of temperatures and no calib") == 2


def test_a_page_on_which_nothing_could_be_fitted_says_so_on_top(run, tmp_path):
    rows = np.random.default_rng(0).normal(size=(5, 8))
    for name, turned in (("texts", rows), ("videos", 2 * rows + 0.1)):
        np.savez(tmp_path / f"{name}.npz", embeddings=turned, ids=list("abcde"))
    page = tmp_path / "report.html"
    run("compare", *files(tmp_path), "--gt", "diagonal", "--methods", "sinkhorn",
        "--resamples", 10, "--report", page)  # fmt: skip
    top = page.read_text().split("<h2>")[0]
    assert top.count("nothing was re-ranked.") == 2 and "Best of" not in top


def test_cost_runs_every_method_again_on_the_same_files(run, folder):
    out, _ = run(
        "compare", *files(folder), "--gt", folder / "gt.json", "--methods", "csls,is",
        "--resamples", 20, "--cost", "--format", "csv", "--figures", "R@1",
    )  # fmt: skip
    rows = [line.split(",") for line in out.splitlines()]
    assert rows[0][-1] == "peak_bytes" and len(rows) == 1 + 2 * 3
    assert all(row[-1].isdigit() for row in rows[1:])


def test_compare_json_holds_the_exact_figures(run, folder, golden):
    out, _ = run(
        "compare", *files(folder), "--gt", folder / "gt.json", "--methods", "nnn",
        "--bank-texts", folder / "bank_texts.npz", "--bank-videos", folder / "bank_videos.npz",
        "--format", "json", "--resamples", 100, "--ties", "pessimistic",
    )  # fmt: skip
    found = json.loads(out)
    raw = found["tables"][0]["rows"][0]
    sim = Pair(golden["texts"].astype("float32"), golden["videos"].astype("float32"))
    expected = metrics.ranks(sim, golden["gt"], ties="pessimistic")
    assert raw["R@1"] == pytest.approx(metrics.recall_at(expected, 1))
    assert [table["label"] for table in found["tables"]] == ["inductive", "inductive"]


def test_a_mistake_is_one_line_and_leaves_no_file(run, folder, tmp_path):
    page = tmp_path / "report.html"
    gt = ["--gt", folder / "gt.json", "--report", page]
    _, err = run("compare", *files(folder), *gt, "--methods", "sinkhron", code=2)
    assert err.startswith("error: ") and err.count("\n") == 1 and "sinkhron" in err
    _, err = run("compare", *files(folder), *gt, "--protocol", "pairs", "--tau", "-1", code=2)
    assert "--tau" in err
    _, err = run("compare", *files(folder), *gt, "--figures", "R@0", code=2)
    assert "'R@0'" in err
    _, err = run("compare", "--gt", folder / "gt.json", code=2)
    assert "--videos" in err
    assert not list(tmp_path.iterdir())
    _, err = run(
        "compare", *files(folder), "--gt", folder / "gt.json", "--methods", "csls",
        "--report", tmp_path / "no" / "report.html", code=2,
    )  # fmt: skip
    assert "does not exist" in err


def test_inspect_explains_raw_files(run, folder):
    out, _ = run("inspect", *files(folder))
    assert "modality gap" in out and "hubness" in out and "t2v, most first places: vv" in out
    found = json.loads(run("inspect", *files(folder), "--json", "--k", 5)[0])
    assert found["hubness"]["t2v"]["k"] == 5 and found["hubness"]["v2t"]["gallery"] == 120
    assert found["geometry"]["dimension"] == 64


def test_inspect_takes_one_file_or_a_matrix(run, folder, golden, tmp_path):
    out, _ = run("inspect", "--videos", folder / "videos.npz", "--json")
    alone = json.loads(out)["hubness"]["itself"]
    scores = golden["videos"] @ golden["videos"].T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.bincount(scores.argmax(axis=1), minlength=120)
    assert alone["top"][0]["top1"] == nearest.max()
    np.save(tmp_path / "sims.npy", golden["metrics_matrix"])
    out, _ = run("inspect", "--sims", tmp_path / "sims.npy", "--json")
    assert json.loads(out)["geometry"] == {}
    _, err = run("inspect", code=2)
    assert "give --videos" in err
