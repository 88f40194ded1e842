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


def invoke(words, base=BASE):
    import rerank_cli.app as cli

    result = CliRunner().invoke(cli.app, ["train", *base.split(), *words.split()])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run(words, base=BASE):
    result = invoke(words, base)
    assert result.exit_code == 0, result.output
    return result.stdout


TEST = "--test-videos test_videos.h5 --test-texts test_texts.h5 --test-gt test_gt.json"
VAL = TEST.replace("--test", "--val")


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


# ------------------------------------------------------------------- what goes in


def change(path, edit):
    entries = json.loads(path.read_text())
    edit(entries)
    path.write_text(json.dumps(entries))


def test_unknown_ids_are_counted_and_named(folder):
    change(folder / "gt.json", lambda e: e.update({"nobody": "v1", "v3#999": "vanished"}))
    result = invoke("")
    assert "2 pairs with unknown ids" in result.stderr
    assert all(name in result.stderr for name in ("'nobody'", "'v3#999'", "'vanished'"))
    manifest = read_trained("heads.safetensors")[1]
    assert manifest["skipped_pairs"] == {"training": 2}
    assert manifest["unknown_ids"]["training"] == ["nobody", "v3#999", "vanished"]


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("kind", ["ids", "rows"])
def test_a_split_that_overlaps_training_is_refused(kind, split, folder):
    if kind == "ids":
        for name in ("videos.h5", "texts.h5", "gt.json"):
            (folder / f"test_{name}").write_bytes((folder / name).read_bytes())
    else:  # other names, and one video that is the same
        with h5py.File("videos.h5") as own, h5py.File("test_videos.h5", "a") as other:
            rows = other["embeddings"][:]
            rows[3] = own["embeddings"][7]
            other["embeddings"][:] = rows
    words = TEST.replace("--test", f"--{split}")
    message = "30 of 30 videos by id" if kind == "ids" else "1 of 8 videos with equal embeddings"
    name = {"val": "validation", "test": "test"}[split]
    with pytest.raises(RerankError, match=f"{name} overlaps training: {message}"):
        run(words)
    assert not (folder / "heads.safetensors").exists()
    assert not (folder / "heads.safetensors.checkpoint").exists()
    run(f"{words} --allow-overlap")


def test_equal_captions_of_other_videos_are_a_note_and_no_overlap(folder):
    with h5py.File("texts.h5") as own, h5py.File("test_texts.h5", "a") as other:
        rows = other["embeddings"][:]
        rows[3] = own["embeddings"][7]
        other["embeddings"][:] = rows
    assert "test shares 1 texts with equal embeddings" in invoke(TEST).stderr


@pytest.mark.parametrize("what", ["missing", "dimension", "truth"])
def test_test_files_are_checked_before_training(what, folder, monkeypatch):
    if what == "missing":
        (folder / "test_videos.h5").unlink()
    elif what == "dimension":
        write(folder / "test_videos.h5", [f"test_v{j}" for j in range(8)], np.ones((8, 5)))
    else:
        (folder / "test_gt.json").write_text('{"x": "y"}')
    from rerank.tasks import train as task

    monkeypatch.setattr(task, "fit_heads", lambda *a, **k: pytest.fail("it trained"))
    with pytest.raises(RerankError, match="test"):
        run(TEST)


def test_every_file_that_is_used_is_hashed(folder):
    (folder / "train.json").write_text('{"lr": 0.01}')
    extra = "--captions captions.json --settings train.json"
    hashes = []
    for out in "ab":
        run(f"{TEST} {extra} --out {out}.safetensors")
        hashes.append(read_trained(f"{out}.safetensors")[1]["inputs"])
        change(folder / "test_gt.json", lambda e: e.pop(next(iter(e))))
    assert set(hashes[0]) == {
        "videos", "texts", "gt", "test-videos", "test-texts", "test-gt", "captions", "settings",
    }  # fmt: skip
    assert {k for k in hashes[0] if hashes[0][k] != hashes[1][k]} == {"test-gt"}


def test_the_kind_of_a_file_does_not_matter_and_folders_are_read(folder):
    pd = pytest.importorskip("pandas")
    with h5py.File("videos.h5") as file:
        vectors, ids = file["embeddings"][:], list(file["ids"].asstr()[:])
    for part in ("img_emb", "metadata"):
        (folder / "clip" / part).mkdir(parents=True)
    np.save(folder / "clip" / "img_emb" / "img_emb_0.npy", vectors)
    table = pd.DataFrame({"image_path": ids, "caption": ids})
    table.to_parquet(folder / "clip" / "metadata" / "metadata_0.parquet")
    found = []
    for name in ("videos.h5", "clip/img_emb"):
        run(f"--out {len(found)}.safetensors", BASE.replace("videos.h5", name))
        found.append(read_trained(f"{len(found)}.safetensors")[1])
    assert found[0]["inputs"]["videos"] == found[1]["inputs"]["videos"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"lr": 0.1, "lr": 0.2}', "'lr' appears twice"),
        ('{"lr": NaN}', "NaN is not JSON"),
        ('{"lr": "0.1"}', "lr: got '0.1', expected a finite number"),
        ('{"rate": 0.1}', "unknown setting 'rate'"),
        ('{"options": {"beta": "x"}, "objective": "emcl"}', "beta: got 'x', expected a number"),
        ("[]", "got a JSON list"),
    ],
)
def test_a_settings_file_is_strict(content, message, folder):
    (folder / "train.json").write_text(content)
    with pytest.raises(RerankError, match=message):
        run("--settings train.json")


def test_options_override_the_settings_file(folder):
    (folder / "train.json").write_text(
        '{"objective": "ncl", "lr": 0.01, "tau": 0.2, "epochs": 9, "options": {"queue": 5}}'
    )
    run("--settings train.json --set n_iters=2 --logit-scale 20")
    told = read_trained("heads.safetensors")[1]["settings"]
    assert (told["objective"], told["lr"], told["epochs"]) == ("ncl", 0.01, 2)
    assert (told["tau"], told["logit_scale"]) == (None, 20.0)
    assert told["options"]["queue"] == 5 and told["options"]["n_iters"] == 2


def test_help_states_the_defaults_of_the_settings():
    import re

    from rerank.train import TrainSettings

    shown = " ".join(invoke("--help", "").stdout.split())
    for option, name in (
        ("epochs", "epochs"), ("lr", "lr"), ("weight-decay", "weight_decay"), ("seed", "seed"),
        ("patience", "patience"), ("hidden", "hidden"), ("loss", "loss"), ("start", "start"),
        ("objective", "objective"), ("protocol", "protocol"), ("duplicates", "duplicates"),
    ):  # fmt: skip
        stated = re.search(rf"--{option} .*?\[default: ([^\]]*)\]", shown)[1].replace("- ", "-")
        assert stated == str(getattr(TrainSettings(), name))


def test_without_captions_a_support_set_is_called_reconstruction_everywhere(folder):
    text = run("--objective support-set")
    assert text.startswith("reconstruction: ")
    manifest = read_trained("heads.safetensors")[1]
    assert manifest["objective"] == manifest["settings"]["objective"] == "reconstruction"
    log = (folder / "heads.safetensors.jsonl").read_text()
    assert "reconstruction" in log and "support" not in text + json.dumps(manifest["objective"])


def test_the_trained_temperature_is_in_the_file_and_offered(folder):
    text = run("--tau 0.3")
    manifest = read_trained("heads.safetensors")[1]
    assert manifest["tau"] == manifest["validation"]["tau"]
    assert f"--tau {manifest['tau']:.4g}" in text and "--heads heads.safetensors" in text


def test_export_of_heads_says_how_to_get_a_model(folder):
    import rerank_cli.app as cli

    run("")
    words = "export --model heads.safetensors --videos videos.h5 --out x"
    result = CliRunner().invoke(cli.app, words.split())
    assert isinstance(result.exception, RerankError)
    assert "rerank fit --heads" in str(result.exception)


# ------------------------------------------------------------------- interruption


def interrupt(folder, monkeypatch, words, *, after=2, base=BASE):
    """A run whose log is interrupted after an epoch."""
    from rerank.tasks import train as files

    real = files.write_jsonl

    def kill(path, history):
        real(path, history)
        if history[-1]["epoch"] == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_jsonl", kill)
        return invoke(words, base)


LONG = BASE.replace("--epochs 2", "--epochs 4")


@pytest.mark.parametrize("objective", ["infonce", "emcl"])
def test_a_killed_run_says_how_to_go_on_and_does(objective, folder, monkeypatch):
    words = f"--objective {objective}"
    whole = run(f"{words} --out a.safetensors", LONG) and (folder / "a.safetensors").read_bytes()
    stopped = interrupt(folder, monkeypatch, f"{words} --out b.safetensors", base=LONG)
    assert stopped.exit_code == 130
    assert "after epoch 2" in stopped.stderr and "b.safetensors.checkpoint" in stopped.stderr
    assert "--resume" in stopped.stderr and not (folder / "b.safetensors").exists()
    again = f"{words} --out b.safetensors --resume"
    stopped = interrupt(folder, monkeypatch, again, after=3, base=LONG)
    assert stopped.exit_code == 130 and "after epoch 3" in stopped.stderr
    run(again, LONG)
    assert (folder / "b.safetensors").read_bytes() == whole


def test_an_interrupt_in_the_first_epoch_says_that_there_is_no_checkpoint(folder, monkeypatch):
    stopped = interrupt(folder, monkeypatch, "", after=0)
    assert stopped.exit_code == 130 and "no checkpoint yet" in stopped.stderr


def test_resume_and_fresh_are_asked_for_where_a_run_did_not_end(folder, monkeypatch):
    with pytest.raises(RerankError, match=r"no checkpoint heads.safetensors.checkpoint"):
        run("--resume")
    interrupt(folder, monkeypatch, "", after=1)
    with pytest.raises(RerankError, match=r"did not end; go on .*--resume.*--fresh"):
        run("")
    with pytest.raises(RerankError, match="give one"):
        run("--resume --fresh")
    (folder / "heads.safetensors.checkpoint").write_bytes(b"spoiled")
    # Nothing says that a run wrote this.
    with pytest.raises(RerankError, match="start over with --fresh --force, or choose another"):
        run("")
    run("--fresh --force")
    first = (folder / "heads.safetensors").read_bytes()
    run("")  # beside the checkpoint of a run that ended
    assert (folder / "heads.safetensors").read_bytes() == first


def test_a_finished_run_can_be_extended(folder):
    own = f"--allow-overlap {VAL} --lr 0.01 --patience 9"
    run(own)
    with pytest.raises(RerankError, match=r"has done 2 epochs; extend it with --epochs above 2"):
        run(f"{own} --resume")
    text = run(f"{own} --resume --epochs 5")
    assert "of 5" in text
    lines = (folder / "heads.safetensors.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(6))


def test_tensorboard_repeats_no_epoch(folder, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    interrupt(folder, monkeypatch, "--tensorboard board", base=LONG)
    run("--tensorboard board --resume", LONG)
    events = EventAccumulator("board")
    events.Reload()
    assert [e.step for e in events.Scalars("score")] == [0, 1, 2, 3, 4]


def test_the_checkpoint_is_named_when_a_loss_is_no_number(folder, monkeypatch):
    from rerank.train.run import Run

    step = Run._step

    def poisoned(self, batch, rate, epoch):
        if epoch == 1:
            self.temperature.log_scale.data.fill_(float("nan"))
        return step(self, batch, rate, epoch)

    monkeypatch.setattr(Run, "_step", poisoned)
    with pytest.raises(
        RerankError, match=r"epoch 1 is kept in heads.safetensors.checkpoint.*start over.*lr="
    ):
        run("")


@pytest.mark.slow
@pytest.mark.distributed
def test_more_processes_than_rows_of_a_batch_train_too(folder):
    import subprocess
    import sys

    words = [*BASE.replace("--batch-size 30", "--batch-size 2").split(), "--epochs", "1"]
    (folder / "go.py").write_text("from rerank_cli.app import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3",
         "go.py", "train", "--objective", "cali-nce", *words],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_trained("heads.safetensors")[1]["epochs"] == 1


@pytest.mark.slow
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
