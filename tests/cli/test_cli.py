"""The command line as a user meets it: the main job, its files, and one line for every mistake."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from io import StringIO
from unittest import mock

import h5py
import numpy as np
import pytest

from rerank import io


def run_fresh(*args, cwd, code=0):
    """Run `rerank` in a process of its own; returns (stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-c", "from rerank_cli.app import main; main()", *map(str, args)],
        cwd=cwd, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr


def run(*args, cwd, code=0):
    """Run `rerank` in this process, which has torch loaded already; returns (stdout, stderr)."""
    from rerank_cli.app import main

    out, err, got = StringIO(), StringIO(), 0
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["rerank", *map(str, args)]),
    ):
        try:
            main()
        except SystemExit as stop:
            got = int(stop.code or 0)
    assert got == code, (got, out.getvalue(), err.getvalue())
    return out.getvalue(), err.getvalue()


def test_one_query_has_ten_results_everywhere(tmp_path):
    rng = np.random.default_rng(0)
    texts, videos = rng.normal(size=(1, 8)), rng.normal(size=(40, 8))
    io.write_embeddings(tmp_path / "t.h5", ["t0"], texts.astype("f4"))
    io.write_embeddings(tmp_path / "v.h5", [f"v{i}" for i in range(40)], videos.astype("f4"))
    io.write_json(tmp_path / "gt.json", {"t0": "v3"})
    for k in ((), ("--k", 10)):
        out, _ = run("apply", "--texts", "t.h5", "--videos", "v.h5", *k, cwd=tmp_path)
        assert "wrote reranked.h5: top 10 (t2v) and 1 (v2t)\n" in out
    found = io.read_results(tmp_path / "reranked.h5").directions
    assert (found["t2v"].indices.shape, found["v2t"].indices.shape) == ((1, 10), (40, 1))
    out, _ = run("eval", "--gt", "gt.json", "--report", "page.html", cwd=tmp_path)
    assert (tmp_path / "page.html").is_file()
    _, err = run("apply", "--texts", "t.h5", "--videos", "v.h5", "--k", 41, cwd=tmp_path, code=2)
    assert err.startswith("error: k: got 41") and err.count("\n") == 1


@pytest.fixture(scope="module")
def work(tmp_path_factory, samples):
    """A folder with the sample files and one result of `apply` on them."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("videos.h5", "texts.h5", "bank_texts.h5", "bank_videos.h5"):
        shutil.copy(samples / name, folder)
    for name in ("gt.json", "bank_gt.json"):
        shutil.copy(samples / name, folder)
    args = ("apply", "--videos", "videos.h5", "--texts", "texts.h5", "--scores")
    out, _ = run_fresh(*args, cwd=folder)
    (folder / "said.txt").write_text(out)
    return folder


def evaluate(work, *args):
    return json.loads(run("eval", "--gt", "gt.json", "--json", *args, cwd=work)[0])


def test_help_is_fast_and_imports_no_torch(tmp_path):
    code = (
        "import sys, time; t = time.perf_counter(); import rerank_cli.app; "
        "print(time.perf_counter() - t, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        out, _ = run_fresh("--help", cwd=tmp_path)
        times.append(time.perf_counter() - start)
    assert "apply" in out and "eval" in out
    # Far above the half second it takes on an idle machine, far below an import of torch there.
    assert min(times) < 5
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split()[1:] == ["False", "False"]


def test_apply_says_what_it_did(work):
    said = (work / "said.txt").read_text()
    for word in ("texts.h5", "videos.h5", "d = ", "norms", "sinkhorn+align+sinkhorn", "tau"):
        assert word in said
    assert "transductive" in said
    assert "reranked.h5" in said


def test_the_result_file_holds_what_it_promises(work):
    with h5py.File(work / "reranked.h5") as file:
        manifest = json.loads(file.attrs["manifest"])
        n, m = file["scores"].shape
        for name, (rows, cols) in (("t2v", (n, m)), ("v2t", (m, n))):
            group = file[name]
            assert group["indices"].shape == group["scores"].shape == (rows, 10)
            assert group["gallery_bias"].shape == (cols,)
            assert len(group["query_ids"]) == rows and len(group["gallery_ids"]) == cols
            matrix = file["scores"][:] if name == "t2v" else file["scores"][:].T
            best = np.sort(-matrix, axis=1)[:, :10]
            found = np.take_along_axis(matrix, group["indices"][:], axis=1)
            np.testing.assert_allclose(-best, found, atol=1e-5)
    assert manifest["label"] == "transductive"
    assert manifest["labels"] == {"t2v": "transductive", "v2t": "transductive"}
    assert set(manifest["inputs"]["videos"]) >= {"sha256", "path", "count", "dim"}
    assert manifest["versions"]["rerank"]


def test_eval_improves_and_prints_the_promised_object(work):
    found = evaluate(work)
    assert found["label"] == "transductive" and found["ties"] == "expected"
    for name in ("t2v", "v2t"):
        before, after = found["before"][name], found["after"][name]
        assert {"R@1", "R@5", "R@10", "MdR", "MnR", "queries"} <= set(before)
        assert after["R@1"] > before["R@1"] + 5
    table, _ = run("eval", "--gt", "gt.json", cwd=work)
    assert "t2v before" in table and "v2t after" in table and "transductive" in table


def test_eval_agrees_with_a_brute_force_ranking(work):
    found = evaluate(work)
    texts, videos = (io.read_embeddings(work / name) for name in ("texts.h5", "videos.h5"))
    truth = json.loads((work / "gt.json").read_text())
    unit = [x.vectors / np.linalg.norm(x.vectors, axis=1, keepdims=True) for x in (texts, videos)]
    raw = unit[0].astype(np.float64) @ unit[1].astype(np.float64).T
    with h5py.File(work / "reranked.h5") as file:
        rewritten = file["scores"][:].astype(np.float64)
    rows = {video: i for i, video in enumerate(videos.ids)}
    column = np.array([rows[truth[text]] for text in texts.ids])
    for when, matrix in (("before", raw), ("after", rewritten)):
        hit = (matrix > matrix[np.arange(len(column)), column][:, None]).sum(axis=1) == 0
        assert found[when]["t2v"]["R@1"] == pytest.approx(100 * hit.mean(), abs=0.2)


def test_eval_of_raw_files_equals_before(work):
    raw = evaluate(work, "--videos", "videos.h5", "--texts", "texts.h5")
    assert raw["before"] == evaluate(work)["before"] and raw["label"] == "none"
    assert "after" not in raw


def test_inputs_may_move_but_not_change(work, tmp_path):
    shutil.copy(work / "reranked.h5", tmp_path)
    shutil.copy(work / "gt.json", tmp_path)
    shutil.copy(work / "bank_texts.h5", tmp_path)
    args = ("eval", "--gt", "gt.json", "--json")
    out, _ = run(
        *args, "--results", "reranked.h5", "--videos", work / "videos.h5", "--texts",
        work / "texts.h5", cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(out) == evaluate(work)
    # Without the inputs the stored matrix is judged, and it is said.
    out, err = run(*args, cwd=tmp_path)
    alone, whole = json.loads(out)["after"], evaluate(work)["after"]
    for name in ("t2v", "v2t"):
        assert alone[name]["MnR"] == pytest.approx(whole[name]["MnR"], rel=1e-3)
    assert "stored matrix" in err
    _, err = run(
        *args, "--results", "reranked.h5", "--videos", work / "videos.h5", "--texts",
        "bank_texts.h5", cwd=tmp_path, code=2,
    )  # fmt: skip
    assert "bank_texts.h5" in err and err.count("\n") == 1


def test_a_bank_makes_it_inductive_and_half_a_bank_half(work, tmp_path):
    both = ("--bank-texts", work / "bank_texts.h5", "--bank-videos", work / "bank_videos.h5")
    base = ("apply", "--videos", work / "videos.h5", "--texts", work / "texts.h5", "--json")
    out, _ = run(*base, *both, cwd=tmp_path)
    assert json.loads(out)["labels"] == {"t2v": "inductive", "v2t": "inductive"}
    out, err = run(*base, *both[:2], cwd=tmp_path)
    assert json.loads(out)["labels"] == {"t2v": "inductive", "v2t": "none"}
    assert "--bank-videos" in err and "raw" in err


def test_sims_of_any_kind(work, tmp_path):
    with h5py.File(work / "reranked.h5") as file:
        scores = file["scores"][:]
        ids = {name: file["t2v"][name][:] for name in ("query_ids", "gallery_ids")}
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["scores"] = 100 * scores
        for name, values in ids.items():
            file[name] = values
    out, _ = run("apply", "--sims", "s.h5", "--json", "--method", "sinkhorn", cwd=tmp_path)
    assert json.loads(out)["label"] == "transductive"
    shutil.copy(work / "gt.json", tmp_path)
    assert json.loads(run("eval", "--gt", "gt.json", "--json", cwd=tmp_path)[0])["after"]
    logits = scores / 0.01
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.save(tmp_path / "p.npy", p / p.sum(axis=1, keepdims=True))
    out, err = run("apply", "--sims", "p.npy", "--out", "p.h5", cwd=tmp_path)
    assert "a softmax" in err and "taken as" not in out
    # Where the numbers say nothing it is said what they are taken for, unless it was stated.
    for kind, factor in (("similarities", 1), ("logits", 100)):
        np.save(tmp_path / "q.npy", factor * scores)
        out, _ = run("apply", "--sims", "q.npy", "--out", "q.h5", "--force", cwd=tmp_path)
        assert f"taken as {kind}; --scores-are" in out
        stated = ("--scores-are", kind, "--force")
        out, _ = run("apply", "--sims", "q.npy", "--out", "q.h5", *stated, cwd=tmp_path)
        assert "taken as" not in out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--videos", "none.h5", "--texts", "texts.h5"], ["none.h5"]),
        (["--videos", ".", "--texts", "texts.h5"], ["."]),
        (["--videos", "videos.h5"], ["--texts"]),
        (["--videos", "videos.h5", "--texts", "texts.h5", "--tau", "0"], ["--tau", "'0'"]),
        (["--videos", "videos.h5", "--texts", "texts.h5", "--tau", "hot"], ["--tau", "'hot'"]),
        (["--videos", "videos.h5", "--texts", "texts.h5", "--k", "100000"], ["k:", "100000"]),
        (["--videos", "videos.h5", "--texts", "texts.h5", "--method", "x"], ["'x'", "sinkhorn"]),
        (["--videos", "videos.h5", "--texts", "texts.h5", "--device", "cuda"], ["CUDA"]),
        (["--videos", "wide.npy", "--texts", "texts.h5"], ["d = 7"]),
        (["--videos", "nan.npy", "--texts", "texts.h5"], ["nan.npy", "row 3", "v3"]),
        (["--videos", "zero.npy", "--texts", "texts.h5"], ["zero.npy", "row 2", "v2"]),
        (["--videos", "int.npy", "--texts", "texts.h5"], ["int.npy", "int64"]),
        (["--videos", "cube.npy", "--texts", "texts.h5"], ["cube.npy"]),
        (["--videos", "cut.h5", "--texts", "texts.h5"], ["cut.h5"]),
        (["--videos", "x.pkl", "--texts", "texts.h5"], ["x.pkl"]),
        (["--videos", "empty.h5", "--texts", "texts.h5"], ["empty.h5"]),
    ],
)
def test_bad_input_is_one_line_and_exit_2(work, tmp_path, args, words):
    dim = io.read_embeddings(work / "texts.h5").vectors.shape[1]
    rng = np.random.default_rng(0)
    good = rng.normal(size=(20, dim)).astype(np.float32)
    bad = {
        "wide": rng.normal(size=(20, 7)),
        "nan": np.where(np.arange(20)[:, None] == 3, np.nan, good),
        "zero": good * (np.arange(20)[:, None] != 2),
        "int": np.ones((20, dim), dtype=np.int64),
        "cube": rng.normal(size=(20, dim, 2)),
    }
    for name, array in bad.items():
        np.save(tmp_path / f"{name}.npy", array)
        (tmp_path / f"{name}.ids.json").write_text(json.dumps([f"v{i}" for i in range(20)]))
    for name in ("videos.h5", "texts.h5"):
        shutil.copy(work / name, tmp_path)
    (tmp_path / "cut.h5").write_bytes((work / "videos.h5").read_bytes()[:5000])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04N.")
    before = sorted(path.name for path in tmp_path.iterdir())
    out, err = run("apply", *args, cwd=tmp_path, code=2)
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    for word in words:
        assert word in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_failed_run_keeps_the_old_result(work, tmp_path):
    for name in ("videos.h5", "texts.h5", "reranked.h5"):
        shutil.copy(work / name, tmp_path)
    kept = (tmp_path / "reranked.h5").read_bytes()
    run("apply", "--videos", "videos.h5", "--texts", "no.h5", cwd=tmp_path, code=2)
    assert (tmp_path / "reranked.h5").read_bytes() == kept


def test_same_input_same_bytes(work, tmp_path):
    for name in ("a", "b"):
        run(
            "apply", "--videos", work / "videos.h5", "--texts", work / "texts.h5",
            "--out", f"{name}.h5", cwd=tmp_path,
        )  # fmt: skip
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_query_without_an_entry_is_named(work, tmp_path):
    truth = json.loads((work / "gt.json").read_text())
    gone = sorted(truth)[4]
    kept = {key: value for key, value in truth.items() if key != gone}
    (tmp_path / "gt.json").write_text(json.dumps(kept))
    args = ("eval", "--gt", tmp_path / "gt.json", "--json")
    _, err = run(*args, cwd=work, code=2)
    assert gone in err and "--allow-unjudged" in err
    found = json.loads(run(*args, "--allow-unjudged", cwd=work)[0])
    assert found["unjudged"] == 1 and found["before"]["t2v"]["queries"] == len(kept)


def test_queries_that_all_share_an_answer_have_no_p_value_and_no_uncertain_verdict(work, tmp_path):
    truth = json.loads((work / "gt.json").read_text())
    videos = sorted({one for of in truth.values() for one in ([of] if isinstance(of, str) else of)})
    linked = {text: {one: 2 for one in ([of] if isinstance(of, str) else of)} | {videos[0]: 1}
              for text, of in truth.items()}  # fmt: skip
    (tmp_path / "graded.json").write_text(json.dumps(linked))
    args = ("--gt", tmp_path / "graded.json")
    shown, _ = run("eval", *args, "--report", tmp_path / "page.html", cwd=work)
    assert "t2v: fewer than 6 groups of queries that share no right answer, so neither" in shown
    row = next(line for line in shown.splitlines() if line.startswith("t2v after"))
    assert row.split()[-2] == "-"
    found = json.loads(run("eval", *args, "--json", cwd=work)[0])
    assert found["change"]["t2v"]["R@1"]["p"] is None
    assert "no certain difference" not in (tmp_path / "page.html").read_text()
    inputs = ("--texts", "texts.h5", "--videos", "videos.h5", "--methods", "csls")
    shown, _ = run("compare", *args, *inputs, cwd=work)
    assert "t2v: fewer than 6 groups of queries that share no right answer, so neither" in shown


def test_a_tiny_set_works_and_says_that_it_is_tiny(work, tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("v", 6), ("t", 4)):
        io.write_embeddings(
            tmp_path / f"{name}.h5",
            [f"{name}{i}" for i in range(count)],
            rng.normal(size=(count, 8)),
        )
    out, err = run("apply", "--videos", "v.h5", "--texts", "t.h5", cwd=tmp_path)
    assert "top 6 (t2v) and 4 (v2t)" in out and "too few" in err
    _, err = run("apply", "--videos", "v.h5", "--texts", "t.h5", "--k", "7", cwd=tmp_path, code=2)
    assert "k: got 7" in err


def test_doctor(work):
    facts = json.loads(run("doctor", "--json", cwd=work)[0])["facts"]
    assert {"rerank", "python", "torch", "faiss", "threads", "memory", "CUDA devices"} <= set(facts)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("processes", "more"), [(2, ()), (3, ("--bank-gt", "bank_gt.json", "--scores"))]
)
def test_many_processes_write_what_one_writes(work, tmp_path, processes, more):
    banks = ("--bank-texts", "bank_texts.h5", "--bank-videos", "bank_videos.h5")
    base = ("apply", "--videos", "videos.h5", "--texts", "texts.h5", *banks, *more)
    said, noted = run(*base, "--out", tmp_path / "one.h5", cwd=work)
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", str(processes),
            "-m", "rerank_cli", *base, "--out", str(tmp_path / "many.h5"),
        ],
        cwd=work, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 1
    # Whole files were read and judged, whatever a process holds of them.
    assert [line for line in done.stdout.splitlines() if line.startswith("read")] == [
        line for line in said.splitlines() if line.startswith("read")
    ]
    assert all(line in done.stderr for line in noted.splitlines())
    one, two = (io.read_results(tmp_path / name) for name in ("one.h5", "many.h5"))
    assert one.manifest["inputs"] == two.manifest["inputs"]
    assert one.manifest["labels"] == two.manifest["labels"]
    for name, tolerance in (("em_map", 1e-8), ("scores", 1e-6)):
        mine, other = getattr(one, name), getattr(two, name)
        assert (mine is None) == (other is None), name
        if mine is not None:
            np.testing.assert_allclose(mine, other, atol=tolerance, err_msg=name)
    assert (two.scores is not None) == ("--scores" in more)
    for name in ("t2v", "v2t"):
        mine, other = one.directions[name], two.directions[name]
        assert mine.query_ids == other.query_ids and mine.gallery_ids == other.gallery_ids
        np.testing.assert_allclose(mine.gallery_bias, other.gallery_bias, atol=1e-5)
        np.testing.assert_allclose(mine.scores, other.scores, atol=1e-5)
        assert (mine.indices == other.indices).mean() > 0.99


_SIGNAL_AT_IMPORT = """
import signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            signal.raise_signal({number})
sys.meta_path.insert(0, Finder())
from rerank_cli.app import program
program()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["typer", "rerank_cli.plan", "rerank.io.cut", "torch._C"])
def test_an_interrupt_while_the_program_starts_is_one_line(name, number):
    code = _SIGNAL_AT_IMPORT.format(name=name, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", "--texts=9", "--videos=9"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 128 + number, done.stderr
    assert done.stdout == "" and done.stderr == "interrupted: no partial output was left behind\n"


def test_an_interrupt_that_a_library_turns_into_its_own_error_is_said_as_one(capsys):
    from rerank_cli import app

    def importing(fails: bool) -> None:
        if fails:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        raise RecursionError("a half-imported module")

    before = signal.signal(signal.SIGINT, app._on_interrupt)
    try:
        with pytest.raises(SystemExit) as stopped:
            app._called(importing)(fails=True)
    finally:
        signal.signal(signal.SIGINT, before)
        app._interrupted.clear()
    assert stopped.value.code == 130 and "interrupted" in capsys.readouterr().err
    with pytest.raises(RecursionError):
        app._called(importing)(fails=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["aply"], "Did you mean 'apply'"),
        (["apply", "--foo"], "--foo"),
        (["apply", "--metric", "x"], "'x' is not one of 'cosine', 'dot'"),
        (["apply", "--k", "ten"], "--k"),
        (["eval", "--ties", "none"], "'expected'"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_its_help(words, said):
    done = subprocess.run(
        [sys.executable, "-m", "rerank_cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr and "-h` lists" in done.stderr


def test_the_program_ends_at_once_with_its_status_and_all_that_it_said(tmp_path):
    for words, code in ((["methods"], 0), (["apply", "--texts", "none.h5"], 2)):
        done = subprocess.run(
            [
                sys.executable, "-c",
                "import atexit, sys, torch; atexit.register(lambda: print('last'))\n"
                "from rerank_cli.app import program\n"
                f"sys.argv = ['rerank', *{words}]; program()",
            ],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code
        assert done.stdout.endswith("last\n")
        assert ("error:" in done.stderr) is (code == 2)
