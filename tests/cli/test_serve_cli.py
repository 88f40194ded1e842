"""fit -> search -> update -> export on files, as a user types them."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch

from rerank.io import read_results, write_embeddings
from rerank.methods.saved import read_model
from rerank.train.heads import Head, Heads
from rerank.train.ridge import Affine
from rerank.train.saved_heads import save_heads
from rerank_cli.app import main
from tests.serving_data import make

IDS, GALLERY, QUERIES, BANK, BANK_GALLERY = make()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with the files of a user, who works in it."""
    monkeypatch.chdir(tmp_path)
    texts = [f"t{i}" for i in range(60)]
    write_embeddings("videos.h5", IDS[:280], GALLERY[:280])
    write_embeddings("more.h5", IDS[280:], GALLERY[280:])
    write_embeddings("texts.h5", texts, QUERIES)
    write_embeddings("one.h5", texts[7:8], QUERIES[7:8])
    write_embeddings("bank_texts.h5", [f"b{i}" for i in range(200)], BANK)
    write_embeddings("bank_videos.h5", [f"w{i}" for i in range(200)], BANK_GALLERY)
    (tmp_path / "bank_gt.json").write_text(json.dumps({f"b{i}": f"w{i}" for i in range(200)}))
    return tmp_path


@pytest.fixture
def rerank(monkeypatch, capsys):
    """Run a command line; returns (exit status, stdout, stderr)."""

    def run(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["rerank", *shlex.split(line)])
        with pytest.raises(SystemExit) as done:
            main()
        out, err = capsys.readouterr()
        return int(done.value.code or 0), out, err

    return run


FIT = (
    "fit --videos videos.h5 --bank-texts bank_texts.h5 --bank-videos bank_videos.h5 --tau 0.05 "
    "--method em+sinkhorn --out m.safetensors"
)


def good(result: tuple[int, str, str]) -> str:
    status, out, err = result
    assert status == 0, err
    return out


NEXT = {
    "embeddings": "",
    "its own gallery": " --keep-gallery",
    "videos that search": " --direction v2t --texts texts.h5",
    "a named array": " --videos named.npz --dataset right",
    "a bank without ids": " --bank-texts bank.npy --keep-bank",
    "two models": " --videos videos.h5 --bank-texts bank_texts.h5 --bank-videos bank_videos.h5"
    " --confidence",
}


@pytest.mark.parametrize("more", NEXT.values(), ids=NEXT)
def test_the_next_line_of_fit_works_as_printed(files, rerank, more):
    np.savez("named.npz", right=GALLERY[:280], wrong=-GALLERY[:280], ids=np.array(IDS[:280]))
    np.save("bank.npy", BANK)
    words = (FIT + more).split()
    if "named.npz" in more or "bank.npy" in more:  # instead of the one in FIT
        flag = more.split()[0]
        del words[words.index(flag) : words.index(flag) + 2]
    if "v2t" in more:
        del words[words.index("--videos") : words.index("--videos") + 2]
    out = good(rerank(" ".join(words)))
    (line,) = [line for line in out.splitlines() if line.startswith("next  rerank ")]
    found = json.loads(good(rerank(line.removeprefix("next  rerank ") + " --json --k 1")))
    assert len(found["results"]) == 200 and found["results"][0]["items"]


def test_fit_then_search_then_one_query_alone(files, rerank):
    out = good(rerank(FIT))
    assert "280 videos" in out and "label inductive" in out and "m.safetensors" in out
    search = "search --model m.safetensors --videos videos.h5 --k 3 --json --texts "
    everyone = json.loads(good(rerank(search + "texts.h5")))
    alone = json.loads(good(rerank(search + "one.h5")))
    assert everyone["label"] == "inductive" and len(everyone["results"]) == 60
    assert alone["results"] == [everyone["results"][7]]
    good(rerank("search --model m.safetensors --videos videos.h5 --texts texts.h5 --out r.h5"))
    stored = read_results("r.h5").directions["t2v"]
    assert stored.label == "inductive" and stored.indices.shape == (60, 10)
    named = [stored.gallery_ids[j] for j in stored.indices[7, :3]]
    assert named == [item["id"] for item in alone["results"][0]["items"]]


def test_what_notes_of_fit_and_search_name_leaves_all_as_it_is(files, rerank):
    write_embeddings(
        "far.h5", [f"t{i}" for i in range(60)], QUERIES + 3 * np.eye(QUERIES.shape[1])[4]
    )
    search = "search --model m.safetensors --videos videos.h5 --texts far.h5 --k 3 --out "
    said = rerank("fit --videos videos.h5 --bank-texts bank_texts.h5 --out m.safetensors")[2]
    assert "say --rho 0 if" in said
    note = rerank(search + "found.json")[2]
    assert "`rerank fit --method none --no-gate`" in note
    first = json.loads((files / "found.json").read_text())
    left = []
    for way in ("--rho 0", "--method none --no-gate"):
        good(rerank(f"fit --videos videos.h5 --bank-texts bank_texts.h5 {way} --out m.safetensors"))
        status, _, said = rerank(search + "found.json")
        assert status == 0 and "look different" not in said
        left.append(json.loads((files / "found.json").read_text()))
    assert _items(left[0]) == _items(left[1]) != _items(first)


def _items(found):
    return re.findall(r"v\d+", json.dumps(found["t2v"] if "t2v" in found else found))


@pytest.mark.parametrize("count", [1, 40])
def test_queries_of_another_encoder_are_one_line(files, rerank, count):
    good(rerank(FIT))
    write_embeddings(
        files / "narrow.h5", [f"n{i}" for i in range(count)],
        np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32),
    )  # fmt: skip
    status, _, err = rerank("search --model m.safetensors --videos videos.h5 --texts narrow.h5")
    assert status == 2 and err.startswith("error: queries: got d = 3, the model was fitted on d = ")


def test_same_input_same_bytes(files, rerank):
    good(rerank(FIT + " --keep-bank"))
    first = (files / "m.safetensors").read_bytes()
    good(rerank(FIT + " --keep-bank"))
    assert (files / "m.safetensors").read_bytes() == first


def test_the_gallery_grows_and_shrinks(files, rerank):
    good(rerank(FIT + " --keep-bank"))
    good(rerank("export --model m.safetensors --videos videos.h5 --to faiss --out i.faiss"))
    before = read_model("m.safetensors").fitted.gallery_bias
    out = good(rerank("update --model m.safetensors --videos more.h5 --index i.faiss"))
    assert "280 -> 300" in out
    after = read_model("m.safetensors").fitted.gallery_bias
    assert np.array_equal(after[:280], before)
    search = "search --model m.safetensors --texts texts.h5 --json --k 5 "
    both = json.loads(good(rerank(search + "--videos videos.h5 --videos more.h5")))
    index = json.loads(good(rerank(search + "--index i.faiss")))
    alone = json.loads(good(rerank("search --index i.faiss --texts texts.h5 --json --k 5")))
    for got in (index, alone):
        assert [[i["id"] for i in e["items"]] for e in got["results"]] == [
            [i["id"] for i in e["items"]] for e in both["results"]
        ]
    (files / "gone.txt").write_text("\n".join(IDS[280:]) + "\n")
    assert "300 -> 280" in good(rerank("update --model m.safetensors --remove gone.txt"))
    status, out, err = rerank("search --model m.safetensors --videos videos.h5 --texts one.h5")
    assert status == 0 and "label inductive" in err and "label" not in out
    status, _, err = rerank("search --model m.safetensors --texts one.h5 --index i.faiss")
    assert status == 2 and "another gallery" in err


def test_v2t_serves_videos_against_texts(files, rerank):
    good(rerank(
        "fit --direction v2t --texts texts.h5 --bank-videos bank_videos.h5 --tau 0.05 "
        "--bank-texts bank_texts.h5 --out m.safetensors"
    ))  # fmt: skip
    out = good(rerank("search --model m.safetensors --texts texts.h5 --videos more.h5 --k 2"))
    assert len(out.splitlines()) == 20 and out.startswith("v280\tt")


def test_the_gate_speaks_where_pairs_are_known(files, rerank):
    status, _, err = rerank(FIT + " --bank-gt bank_gt.json")
    assert status == 0 and "The bank " in err
    status, _, err = rerank(FIT)
    assert status == 0 and "the gate is off" in err


def test_export_prints_the_measured_recall_and_the_effort(files, rerank):
    good(rerank(FIT))
    line = "export --model m.safetensors --videos videos.h5 --texts texts.h5 --out i "
    out = good(rerank(line))
    assert re.search(r"top 10, 60 queries from --texts: found 1\.0000\n", out)
    out = good(rerank(line + "--index hnsw --recall 1"))
    effort = int(re.search(r"found 1\.0000 with efSearch (\d+), stored", out)[1])
    out = good(rerank(line + "--index hnsw --recall .5"))
    less = int(re.search(r"with efSearch (\d+), stored", out)[1])
    assert less < effort
    status, out, err = rerank(line.replace("--texts texts.h5", "") + "--index hnsw --json")
    recall = json.loads(out)["recall"]
    assert status == 0 and "gallery items as queries" in err
    assert recall["overlap"] >= recall["wanted"] == 0.99 and recall["queries_from"] == "gallery"
    good(rerank(FIT + " --keep-bank"))
    out = good(rerank(line.replace("--texts texts.h5", "") + "--index ivf"))
    assert "200 queries from the bank" in out
    status, _, err = rerank(line + "--index hnsw --effort 1")
    assert status == 0
    status, _, err = rerank(line + "--effort 5")
    assert status == 2 and "searched exactly" in err


def test_a_model_that_keeps_its_gallery_needs_no_other_file(files, rerank):
    good(rerank(FIT))
    line = "search --model m.safetensors --texts texts.h5 --k 3 --json"
    expected = json.loads(good(rerank(line + " --videos videos.h5")))
    status, _, err = rerank(line)
    assert status == 2 and "rerank fit --keep-gallery" in err
    assert "with its gallery" in good(rerank(FIT + " --keep-gallery --keep-bank"))
    assert json.loads(good(rerank(line)))["results"] == expected["results"]
    good(rerank("export --model m.safetensors --texts texts.h5 --out i --to npy"))
    good(rerank("update --model m.safetensors --videos more.h5"))
    grown = json.loads(good(rerank(line)))["results"]
    both = json.loads(good(rerank(line + " --videos videos.h5 --videos more.h5")))["results"]
    assert grown == both != expected["results"]


@pytest.mark.parametrize("to", ["npy", "parquet", "lancedb", "usearch", "pgvector"])
def test_search_reads_what_export_wrote(files, rerank, to):
    pytest.importorskip({"npy": "numpy", "parquet": "pyarrow", "pgvector": "numpy"}.get(to, to))
    good(rerank(FIT))
    search = "search --texts texts.h5 --k 3 --json "
    expected = json.loads(good(rerank(search + "--model m.safetensors --videos videos.h5")))
    more = {"lancedb": " --table films", "usearch": " --recall 1"}.get(to, "")
    out = good(rerank(
        f"export --model m.safetensors --videos videos.h5 --texts texts.h5 --to {to} --out o{more}"
    ))  # fmt: skip
    assert "import numpy as np" in out and "names" in out
    table = " --table films" if to == "lancedb" else ""
    for model in ("", " --model m.safetensors"):
        got = json.loads(good(rerank(search + "--index o" + table + model)))
        assert [[i["id"] for i in e["items"]] for e in got["results"]] == [
            [i["id"] for i in e["items"]] for e in expected["results"]
        ]
    status, _, err = rerank(search + "--model m.safetensors --videos videos.h5 --table x")
    assert status == 2 and "--table belongs to --index" in err


def test_an_index_that_cannot_reach_the_recall_is_written_and_says_so(files, rerank, monkeypatch):
    pytest.importorskip("faiss")
    from rerank.serving.stores.faiss import Faiss

    good(rerank(FIT))
    monkeypatch.setattr(Faiss, "efforts", lambda self, m: (1,))
    status, out, err = rerank(
        "export --model m.safetensors --videos videos.h5 --texts texts.h5 --index ivf --out i"
    )
    assert status == 0 and "does not reach --recall 0.99: at its largest nprobe, 1" in err
    assert (files / "i").exists() and "with nprobe 1, stored" in out


def test_a_trained_head_travels_with_the_model(files, rerank):
    """Texts rotated and lengthened by an unknown map: served as if they had never been."""
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(3)
    turn = np.linalg.qr(rng.normal(size=(40, 32)))[0].T.astype("f4")  # (32, 40)
    affine = Affine(torch.zeros(40), torch.from_numpy(turn.T.copy()))
    same = Affine(torch.zeros(32), torch.eye(32))
    save_heads("h.safetensors", Heads(Head(affine, 1.0), Head(same, 1.0)))
    write_embeddings("texts2.h5", [f"t{i}" for i in range(60)], QUERIES @ turn)
    write_embeddings("bank_texts2.h5", [f"b{i}" for i in range(200)], BANK @ turn)
    good(rerank(FIT))
    search = "search --videos videos.h5 --json --k 5 --model "
    plain = json.loads(good(rerank(search + "m.safetensors --texts texts.h5")))
    good(rerank(FIT.replace("bank_texts.h5", "bank_texts2.h5") + " --heads h.safetensors"))
    trained = json.loads(good(rerank(search + "m.safetensors --texts texts2.h5")))
    ids = [[item["id"] for item in entry["items"]] for entry in plain["results"]]
    assert [[item["id"] for item in entry["items"]] for entry in trained["results"]] == ids
    good(rerank("export --model m.safetensors --videos videos.h5 --out i"))
    index, side = faiss.read_index("i"), np.load("i.npz")
    q = QUERIES @ turn @ side["head"] + side["head_bias"]
    q = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ side["map"]
    q = np.pad(q / np.linalg.norm(q, axis=1, keepdims=True), ((0, 0), (0, 1)), constant_values=1)
    assert side["ids"][index.search(q.astype("f4"), 5)[1]].tolist() == ids
    status, _, err = rerank("search --index i --texts texts2.h5")
    assert status == 2 and "trained head" in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("search --model m.safetensors --videos more.h5 --texts one.h5", "none of its 20 ids is"),
        ("search --model m.safetensors --texts one.h5", "--videos"),
        ("search --model m.safetensors --videos videos.h5", "--texts"),
        ("search --model texts.h5 --videos videos.h5 --texts one.h5", "texts.h5: an HDF5 file"),
        ("search --model m.safetensors --videos videos.h5 --texts one.h5 --k 281", "the 280"),
        ("search --model no --videos videos.h5 --texts one.h5", "no: no such file"),
        ("search --model m.safetensors --videos videos.h5 --texts one.h5 --out x.foo", "x.foo"),
        ("search --model m.safetensors --index videos.h5 --texts one.h5", "videos.h5.npz"),
        ("update --model m.safetensors --videos more.h5", "--keep-bank"),
        ("update --model m.safetensors", "nothing to do"),
        ("export --model m.safetensors --videos more.h5 --out x", "none of its 20 ids is"),
        ("export --model m.safetensors --videos videos.h5 --out x --to milvus", "of faiss, npy"),
        ("export --model m.safetensors --videos videos.h5 --out x --option a", "NAME=VALUE"),
        ("export --model m.safetensors --videos videos.h5 --out x --table a", "no such setting"),
        ("export --model m.safetensors --videos videos.h5 --out x --recall 2", "--recall: got 2"),
        ("export --model m.safetensors --videos videos.h5 --out x --query-side y", "mapped"),
        ("fit --videos videos.h5", "--bank-texts is missing"),
        ("fit --bank-texts bank_texts.h5", "--videos is missing"),
        ("fit --videos videos.h5 --bank-texts bank_texts.h5 --heads texts.h5", "texts.h5|trained"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_one_line_and_leaves_no_file(files, rerank, line, message):
    good(rerank(FIT))
    before = sorted(p.name for p in files.iterdir())
    status, out, err = rerank(line)
    assert status == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and re.search(message, err), err
    assert sorted(p.name for p in files.iterdir()) == before


def test_the_command_that_export_prints_runs_whatever_the_file_is_called(files, rerank):
    good(rerank(f"{FIT} --keep-bank"))
    np.save("QUERIES.npy", QUERIES)
    name = 'it\'s  "a"\\n """ store.npy'
    said = good(rerank(shlex.join([*"export --model m.safetensors --videos videos.h5".split(),
                                   "--to", "npy", "--out", name])))  # fmt: skip
    command = next(line for line in said.splitlines() if line.startswith("query it: "))
    python, *rest = shlex.split(command.removeprefix("query it: "))
    assert python == "python"
    done = subprocess.run([sys.executable, *rest], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(QUERIES)


def test_queries_of_another_dimension_are_one_line_at_every_command(files, rerank):
    good(rerank(f"{FIT} --keep-bank"))
    good(rerank("export --model m.safetensors --videos videos.h5 --to npy --out v.npy"))
    write_embeddings("wide.h5", ["t0", "t1", "t2"], np.ones((3, 5), np.float32))
    (files / "gt.json").write_text(json.dumps({f"t{i}": IDS[i] for i in range(3)}))
    for command in (
        "search --model m.safetensors --videos videos.h5 --texts wide.h5",
        "search --model m.safetensors --index v.npy --texts wide.h5",
        "search --index v.npy --texts wide.h5",
        "export --model m.safetensors --videos videos.h5 --texts wide.h5 --to npy --out w.npy",
        "eval --model m.safetensors --videos videos.h5 --texts wide.h5 --gt gt.json",
        "update --model m.safetensors --videos wide.h5",
    ):
        status, _, err = rerank(command)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, (command, err)
        assert re.search(r"\b5\b.*\b32\b", err), (command, err)
    np.save("wide.npy", np.ones((3, 5)))
    done = subprocess.run(
        [sys.executable, "v.npy.query.py", "wide.npy", "3"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "queries: got d = 5, the index was made of d = 32\n"
