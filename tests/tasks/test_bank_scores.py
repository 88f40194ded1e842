"""Scores of a bank do what its embeddings do: a run needs nothing else."""

import json
import re
import shlex

import h5py
import numpy as np
import pytest
import torch

import rerank
from rerank import io
from rerank.core.errors import RerankError
from rerank.methods.registry import METHODS
from rerank.tasks.apply import apply_files
from rerank.tasks.compare import compare_files
from rerank.tasks.evaluate_files import judge_results
from rerank.tasks.inspect import inspect_files
from rerank.tasks.read import read_inputs
from tests.cli.test_cli import run

N, M, B, D = 40, 30, 50, 8
RNG = np.random.default_rng(0)
VIDEOS = RNG.normal(size=(M, D)) + 0.5
TEXTS = VIDEOS[np.arange(N) % M] + 0.5 * RNG.normal(size=(N, D))
BANK = VIDEOS[RNG.integers(M, size=B)] + 0.8 * RNG.normal(size=(B, D))
VIDEOS, TEXTS, BANK = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (VIDEOS, TEXTS, BANK))
SIMS, BANK_SIMS = TEXTS @ VIDEOS.T, BANK @ VIDEOS.T
# Of every method on its own; those that need embeddings or a second bank say so.
WORKS = [
    name for name, card in METHODS.cards().items() if "embeddings" not in card.facts.needs
]  # fmt: skip


@pytest.mark.parametrize("method", WORKS)
def test_scores_of_a_bank_fit_what_its_embeddings_fit(method):
    options = {"method": method, "metric": "dot", "k": 5}
    try:
        want = rerank.apply(TEXTS, VIDEOS, bank_texts=BANK, **options)
    except RerankError:
        # What a bank of texts alone cannot fit is refused alike.
        with pytest.raises(RerankError):
            rerank.apply(scores=SIMS, bank_scores=BANK_SIMS, method=method, k=5)
        return
    options.pop("metric")
    found = rerank.apply(scores=SIMS, bank_scores=BANK_SIMS, **options)
    assert found.t2v.label == want.t2v.label == "inductive" and found.v2t.label == "none"
    assert any("bank videos" in note for note in found.v2t.notes)
    torch.testing.assert_close(
        found.t2v.sim.scores().float(), want.t2v.sim.scores().float(), rtol=1e-4, atol=1e-5
    )


def test_most_methods_take_the_scores_of_a_bank():
    taken = 0
    for method in WORKS:
        try:
            rerank.apply(scores=SIMS, bank_scores=BANK_SIMS, method=method, k=5)
            taken += 1
        except RerankError:
            continue
    assert taken >= 10 and {"dis", "qb-norm", "sinkhorn", "csls", "is"} <= set(WORKS)


@pytest.fixture
def files(tmp_path):
    ids = [f"v{j}" for j in range(M)]
    np.savez(tmp_path / "s.npz", scores=SIMS, query_ids=[f"t{i}" for i in range(N)],
             gallery_ids=ids)  # fmt: skip
    np.savez(tmp_path / "b.npz", scores=BANK_SIMS[:, ::-1],
             query_ids=[f"b{i}" for i in range(B)], gallery_ids=ids[::-1])  # fmt: skip
    io.write_json(tmp_path / "gt.json", {f"t{i}": f"v{i % M}" for i in range(N)})
    return tmp_path


@pytest.mark.parametrize("method", ["qb-norm", "sinkhorn"])
def test_files_are_fitted_recorded_and_judged_again(files, method):
    """Columns follow their names; a row-wise method is fitted again for `eval`."""
    out = files / "o.h5"
    answer = apply_files(
        sims=files / "s.npz", bank_sims=files / "b.npz", out=out, settings={"method": method}
    )
    assert answer.manifest["labels"] == {"t2v": "inductive", "v2t": "none"}
    assert answer.manifest["inputs"]["bank_sims"]["count"] == [B, M]
    assert f"{B} bank texts x {M} videos" in answer.text
    want = rerank.apply(scores=SIMS, bank_scores=BANK_SIMS, method=method)
    written = io.read_results(out).directions["t2v"]
    np.testing.assert_array_equal(written.indices, want.t2v.topk.indices)
    judged = judge_results(files / "gt.json", out)
    right = np.arange(N) % M
    first = want.t2v.topk.indices[:, 0].numpy() == right
    assert judged.after["t2v"].table()["R@1"] == pytest.approx(100 * first.mean())
    table = compare_files(
        files / "gt.json", sims=files / "s.npz", bank_sims=files / "b.npz", methods=method,
        resamples=10,
    ).tables  # fmt: skip
    (shown,) = [t for t in table if t.direction == "t2v"]
    assert shown.label == "inductive"
    assert shown.entries[0].figures["R@1"] == pytest.approx(100 * first.mean())
    if method == "qb-norm":
        np.savez(files / "b.npz", scores=BANK_SIMS[:, ::-1] + 1, gallery_ids=["x"], query_ids=["y"])
        with pytest.raises(RerankError):
            judge_results(files / "gt.json", out)


def test_numbers_of_the_bank_are_read_as_those_of_the_scores():
    """Logits of a softmax are logarithms in both; a fill value is unscored in both."""
    soft, bank = (torch.softmax(torch.tensor(x) * 20, dim=1).numpy() for x in (SIMS, BANK_SIMS))
    found = rerank.apply(scores=soft, bank_scores=bank, method="sinkhorn", scores_are="softmax")
    logs = rerank.apply(scores=np.log(soft), bank_scores=np.log(bank), method="sinkhorn")
    torch.testing.assert_close(found.t2v.topk.indices, logs.t2v.topk.indices)


def test_what_does_not_fit_is_refused(files):
    with pytest.raises(RerankError, match="got 29 videos, expected 30"):
        rerank.apply(scores=SIMS, bank_scores=BANK_SIMS[:, 1:])
    with pytest.raises(RerankError, match="bank_scores stand beside scores"):
        rerank.apply(TEXTS, VIDEOS, bank_scores=BANK_SIMS)
    with pytest.raises(RerankError, match="--bank-sims"):
        rerank.apply(scores=SIMS, bank_texts=BANK)
    with pytest.raises(RerankError, match="bank .*NaN"):
        rerank.apply(scores=SIMS, bank_scores=np.where(BANK_SIMS > 0.5, np.nan, BANK_SIMS))
    np.savez(files / "c.npz", scores=BANK_SIMS, gallery_ids=[f"w{j}" for j in range(M)],
             query_ids=[f"b{i}" for i in range(B)])  # fmt: skip
    with pytest.raises(RerankError, match="no column for 'v0'"):
        apply_files(sims=files / "s.npz", bank_sims=files / "c.npz", out=files / "o.h5")
    assert not (files / "o.h5").exists()


def test_inspect_looks_for_hubs_of_a_bank_of_scores(files):
    """As for a bank of embeddings, from arrays and from files."""
    want = rerank.inspect(TEXTS, VIDEOS, bank_texts=BANK)
    (check,) = [c for c in want["checks"] if c["name"].startswith("bank texts")]
    assert check in rerank.inspect(scores=SIMS, bank_scores=BANK_SIMS)["checks"]
    found = inspect_files(sims=files / "s.npz", bank_sims=files / "b.npz")
    (named,) = [c for c in found["checks"] if c["name"].startswith("bank texts")]
    assert named["found"] == f"v{check['found']}"
    assert not any(
        c["name"].startswith("bank") for c in inspect_files(sims=files / "s.npz")["checks"]
    )


def test_inspect_says_of_a_bank_what_apply_warns_of(files):
    """Another size, a number for "not scored", texts that are in both; nothing of a good bank."""
    hidden = np.where(np.random.default_rng(1).random(BANK_SIMS.shape) < 0.3, -100, BANK_SIMS)
    np.save(files / "s.npy", SIMS)
    for bank, said in (
        (100 * BANK_SIMS, "as if of another kind or unit"),
        (hidden, "-100 = not scored"),
        (np.concatenate([SIMS[:5], BANK_SIMS]), "5 of 40 test queries are also in the bank"),
        (BANK_SIMS, ""),
    ):
        np.save(files / "b.npy", bank)
        both = {"sims": files / "s.npy", "bank_sims": files / "b.npy"}
        warned = apply_files(**both, out=files / "o.h5").warnings
        want = [x for x in warned if x.startswith("t2v")]
        assert [said in x for x in want] == ([True] if said else [])
        notes = inspect_files(**both).get("notes", [])
        assert [x for x in notes if x.startswith(("t2v", "v2t"))] == want
    found = rerank.inspect(TEXTS, VIDEOS, bank_texts=np.concatenate([TEXTS[:5], BANK]))
    assert any("5 of 40 test queries" in x for x in found["notes"])


TURNED = {"scores": BANK_SIMS.T}
ODD_BANKS = {
    "turned": {**TURNED, "video_ids": [f"v{j}" for j in range(M)], "query_ids": list(range(B))},
    "without names": TURNED,
    "names of both": {**TURNED, "query_ids": [f"v{j}" for j in range(M)],
                      "gallery_ids": [f"b{i}" for i in range(B)]},
    "names of videos": {"scores": BANK_SIMS, "video_ids": [f"v{j}" for j in range(M)]},
    "a name that is none": {"scores": BANK_SIMS.T, "my video ids": [f"v{j}" for j in range(M)]},
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD_BANKS)
def test_the_way_out_of_a_bank_leaves_the_scores_as_they_are(files, kind):
    """Square scores would be turned, and named texts renamed, without a word."""
    square, names = files / "sq.npz", [f"v{j}" for j in range(M)]
    np.savez(square, scores=SIMS[:M], query_ids=names[::-1], gallery_ids=names)
    np.savez(files / "odd.npz", **ODD_BANKS[kind])
    words = ["apply", "--sims", "sq.npz", "--method", "qb-norm", "--force", "--bank-sims"]
    _, err = run(*words, "odd.npz", "--out", "a.h5", cwd=files, code=2)
    assert err.count("\n") <= 1 and "would count for the scores too: rerank convert odd.npz" in err
    commands = re.findall(r"rerank (convert .*?)(?=, | if | where |$)", err.strip())
    assert commands
    run(*shlex.split(commands[-1]), cwd=files)
    run(*words, "odd.scores.h5", "--out", "a.h5", cwd=files)
    run(*words, "b.npz", "--out", "b.h5", cwd=files)
    found, want = (io.read_results(files / name).directions["t2v"] for name in ("a.h5", "b.h5"))
    assert found.query_ids == want.query_ids
    np.testing.assert_array_equal(found.indices, want.indices)


NAMED = [("query_ids", "gallery_ids"), ("queries", "items"), ("text_ids", "video_ids")]


def keep(path, scores, rows, columns, names):
    """A matrix with names of its rows and columns, in a file of any kind."""
    content = {"scores": scores, names[0]: rows, names[1]: columns}
    if path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, array in content.items():
                file[name] = array
    elif path.suffix == ".pt":
        torch.save({**content, "scores": torch.tensor(scores)}, path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({**content, "scores": scores.tolist()}))
    else:
        lines = [["", *columns], *([row, *x] for row, x in zip(rows, scores, strict=True))]
        path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))


@pytest.mark.parametrize("ending", ["npz", "h5", "pt", "json", "csv"])
@pytest.mark.parametrize("count", [B, M])
@pytest.mark.parametrize("names", NAMED)
def test_a_bank_whose_rows_are_the_videos_is_turned_by_what_is_printed(files, ending, count, names):
    videos, texts = [f"v{j}" for j in range(M)], [f"b{i}" for i in range(count)]
    bank = BANK_SIMS[:count]
    keep(files / f"odd.{ending}", bank.T, videos, texts, names)
    words = ["apply", "--sims", "s.npz", "--method", "qb-norm", "--force", "--bank-sims"]
    _, err = run(*words, f"odd.{ending}", "--out", "a.h5", cwd=files, code=2)
    assert err.count("\n") <= 1 and "has no column for 'v0', a video of s.npz" in err
    (command,) = re.findall(r"scores too: rerank (convert .*?), and give odd.scores.h5", err)
    run(*shlex.split(command), cwd=files)
    run(*words, "odd.scores.h5", "--out", "a.h5", cwd=files)
    keep(files / "good.npz", bank, texts, videos, ("query_ids", "gallery_ids"))
    run(*words, "good.npz", "--out", "b.h5", cwd=files)
    found, want = (io.read_results(files / name).directions["t2v"] for name in ("a.h5", "b.h5"))
    np.testing.assert_array_equal(found.indices, want.indices)


def test_a_bank_that_was_turned_for_the_scores_is_told(files):
    keep(files / "t.npz", SIMS.T, [f"v{j}" for j in range(M)], [f"t{i}" for i in range(N)],
         ("query_ids", "gallery_ids"))  # fmt: skip
    words = ["apply", "--bank-sims", "b.npz", "--method", "qb-norm", "--out", "o.h5"]
    _, err = run(*words, "--sims", "t.npz", "--sims-rows", "videos", cwd=files, code=2)
    (command,) = re.findall(r"rerank (convert .*?), and give t.scores.h5; then leave out", err)
    run(*shlex.split(command), cwd=files)
    run(*words, "--sims", "t.scores.h5", cwd=files)
    assert io.read_results(files / "o.h5").directions["t2v"].query_ids[0] == "t0"


def test_scores_that_are_turned_are_written_before_their_bank(files):
    """What turns the scores would turn the bank as well."""
    np.savez(files / "t.npz", scores=SIMS.T, text_ids=[f"t{i}" for i in range(N)],
             video_ids=[f"v{i}" for i in range(M)])  # fmt: skip
    np.savez(files / "tb.npz", scores=BANK_SIMS, text_ids=[f"b{i}" for i in range(B)],
             video_ids=[f"v{i}" for i in range(M)])  # fmt: skip
    words = ["apply", "--bank-sims", "tb.npz", "--method", "qb-norm", "--out", "o.h5"]
    _, err = run(*words, "--sims", "t.npz", "--sims-rows", "videos", cwd=files, code=2)
    (command,) = re.findall(r"rerank (convert .*?), and give t.scores.h5; then leave out", err)
    run(*shlex.split(command), cwd=files)
    run(*words, "--sims", "t.scores.h5", cwd=files)
    assert io.read_results(files / "o.h5").directions["t2v"].query_ids[0] == "t0"


def test_a_bank_is_mended_in_python_as_it_is_printed(files):
    np.savez(files / "odd.npz", **ODD_BANKS["turned"])
    with pytest.raises(RerankError, match="count for the scores too") as caught:
        read_inputs(sims=files / "s.npz", bank_sims=files / "odd.npz")
    (call,) = re.findall(r"rerank\.io\.(convert_scores\(.*?\)), and give", str(caught.value))
    assert eval(call, {"convert_scores": io.convert_scores}) == (B, M)
    found = read_inputs(sims=files / "s.npz", bank_sims=files / "odd.scores.h5")
    np.testing.assert_array_equal(found.bank_scores.scores, BANK_SIMS)


@pytest.mark.parametrize("said", [float("nan"), "nan"])
def test_nan_is_not_scored_in_files_as_in_arrays(tmp_path, said):
    """Where it is said, in Python as on the command line, of the scores and of their bank."""
    hidden = RNG.random(SIMS.shape) < 0.3
    scores, bank = np.where(hidden, np.nan, SIMS), BANK_SIMS.copy()
    bank[0, 0] = np.nan
    np.save(tmp_path / "s.npy", scores)
    np.save(tmp_path / "b.npy", bank)
    files = {"scores": str(tmp_path / "s.npy"), "bank_scores": tmp_path / "b.npy"}
    want = rerank.apply(
        scores=np.where(hidden, -np.inf, SIMS),
        bank_scores=np.where(np.isnan(bank), -np.inf, bank), method="sinkhorn",
    )  # fmt: skip
    for given in (files, {"scores": scores, "bank_scores": bank}):
        found = rerank.apply(**given, method="sinkhorn", unscored=said)
        torch.testing.assert_close(found.t2v.sim.scores(), want.t2v.sim.scores())
        assert not torch.isfinite(found.t2v.sim.scores()[torch.tensor(hidden)]).any()
    one = rerank.apply(**files, method="qb-norm", unscored=said)
    one.save(tmp_path / "o.h5", scores=False)
    assert judge_results(None, tmp_path / "o.h5", hubs=True).hubness
    torch.testing.assert_close(
        rerank.rerank(torch.tensor(scores), unscored=said),
        rerank.rerank(torch.tensor(scores), unscored=float("nan")),
    )
    with pytest.raises(RerankError, match="unscored: got 'x', expected a number, nan"):
        rerank.apply(scores=files["scores"], unscored="x")
    with pytest.raises(RerankError, match="NaN"):
        rerank.apply(scores=files["scores"])
