"""`rerank train` as a user meets it: files in, a model out, one line for every mistake."""

import json

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from rerank.core.errors import RerankError
from rerank.train import load_heads, read_trained


def write(path, ids, vectors):
    with h5py.File(path, "w") as file:
        file["embeddings"] = vectors.astype(np.float32)
        file["ids"] = np.array(ids, dtype=h5py.string_dtype())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Training and test files of two unaligned spaces."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((6, 9)), rng.standard_normal((6, 7))
    for split, m in (("", 30), ("test_", 8)):
        hidden = rng.standard_normal((m, 6))
        owner = np.repeat(np.arange(m), 3)
        videos = [f"{split}v{j}" for j in range(m)]
        texts = [f"{videos[j]}#{n}" for n, j in enumerate(owner)]
        write(tmp_path / f"{split}videos.h5", videos, hidden @ maps[0])
        said = hidden[owner] + 0.4 * rng.standard_normal((len(owner), 6))
        write(tmp_path / f"{split}texts.h5", texts, said @ maps[1])
        gt = {t: videos[j] for t, j in zip(texts, owner, strict=True)}
        (tmp_path / f"{split}gt.json").write_text(json.dumps(gt))
        words = {t: f"a dog named {j} runs home" for t, j in zip(texts, owner, strict=True)}
        (tmp_path / f"{split}captions.json").write_text(json.dumps(words))
    monkeypatch.chdir(tmp_path)
    return tmp_path


BASE = "--videos videos.h5 --texts texts.h5 --gt gt.json --epochs 2 --batch-size 30 --device cpu"


def run(words):
    import rerank_cli.app as cli

    result = CliRunner().invoke(cli.app, ["train", *BASE.split(), *words.split()])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("objective", ["emcl", "support-set"])
def test_files_in_and_a_model_out(objective, folder):
    text = run(
        f"--objective {objective} --captions captions.json --out m.safetensors --seed 3 "
        f"--test-videos test_videos.h5 --test-texts test_texts.h5 --test-gt test_gt.json"
    )
    assert "validation R@1" in text and "test R@1" in text and "m.safetensors" in text
    heads, manifest = read_trained(folder / "m.safetensors")
    assert manifest["objective"] == objective and manifest["settings"]["seed"] == 3
    with h5py.File(folder / "test_videos.h5") as file:
        assert heads.videos(file["embeddings"][:]).shape == (8, heads.dim)
    lines = (folder / "m.safetensors.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2]


def test_the_same_command_writes_the_same_bytes(folder):
    for name in ("a", "b"):
        run(f"--objective ncl --out {name}.safetensors")
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def test_validation_files_settings_json_and_pair_scores(folder):
    text = run(
        "--objective cali-nce --set warm_up=1 --set mu=0 --pair-scores scores.json --json "
        "--val-videos test_videos.h5 --val-texts test_texts.h5 --val-gt test_gt.json"
    )
    options = json.loads(text)["settings"]["options"]
    assert options["warm_up"] == 1 and options["lam"] == 1.0
    scores = json.loads((folder / "scores.json").read_text())
    assert len(scores) == 90 and all(0 <= v[0] <= 1 for v in scores.values())
    load_heads(folder / "heads.safetensors")


def test_tensorboard_logs_are_written(folder):
    run("--objective infonce --tensorboard board")
    assert any((folder / "board").iterdir())


def drop(folder, name):
    entries = json.loads((folder / name).read_text())
    entries.pop(next(iter(entries)))
    (folder / name).write_text(json.dumps(entries))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--objective support-set --captions captions.json", "no caption for 1 of 90 texts"),
        ("--val-videos videos.h5", "--val-videos, --val-texts and --val-gt together"),
        ("--set beta", "expected name=value"),
        ("--objective emcl --set beta9=1", "no setting 'beta9'"),
        ("--pair-scores s.json", "--objective cali-nce"),
        ("--start identity", "texts of d = 7 and videos of d = 9"),
        ("--lr -1", "lr: got -1"),
        ("--gt nowhere.json", "nowhere.json"),
    ],
)
def test_mistakes_are_one_clear_error_and_no_model(words, message, folder):
    drop(folder, "captions.json")
    with pytest.raises(RerankError, match=message):
        run(words)
    assert not (folder / "heads.safetensors").exists()


def test_a_ground_truth_without_pairs_is_refused(folder):
    (folder / "gt.json").write_text(json.dumps({"nobody": "nothing"}))
    with pytest.raises(RerankError, match="gt"):
        run("")


def test_a_killed_run_goes_on(folder, monkeypatch):
    from rerank.tasks import train as files

    whole = run("--out a.safetensors") and (folder / "a.safetensors").read_bytes()
    real = files.write_jsonl

    def kill(path, history):
        real(path, history)
        if history[-1]["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(files, "write_jsonl", kill)
    with pytest.raises((KeyboardInterrupt, AssertionError)):
        run("--out b.safetensors")
    assert (folder / "b.safetensors.checkpoint").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    run("--out b.safetensors --resume")
    assert (folder / "b.safetensors").read_bytes() == whole


@pytest.mark.distributed
def test_two_processes_train_the_model_of_one(folder):
    import subprocess
    import sys

    import torch

    # Validation on the training files, so that the trained heads are kept and not the start.
    own = "--allow-overlap --val-videos videos.h5 --val-texts texts.h5 --val-gt gt.json --lr 0.01"
    options = f"--objective ncl --hidden 4 {own}"
    words = [*BASE.split(), *options.split()]
    run(f"{options} --out one.safetensors")
    assert read_trained("one.safetensors")[1]["best_epoch"] > 0
    (folder / "go.py").write_text("from rerank_cli.app import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "go.py", "train", *words, "--out", "two.safetensors"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = load_heads("one.safetensors"), load_heads("two.safetensors")
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], tensor, atol=2e-4, rtol=1e-3)
