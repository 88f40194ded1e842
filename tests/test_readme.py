"""What the README prints works as it stands: its Python runs, its links lead somewhere."""

import importlib.util
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    "cli/README.md",
    *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("rerank/**/README.md"))),
]


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_python_of_the_readme_runs(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    scope = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for code in blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python"):
            exec(compile(code, "README.md", "exec"), scope)
            shown = re.findall(r"^print.*  # (.*)$", code, flags=re.MULTILINE)
            assert capsys.readouterr().out.splitlines() == shown
    assert scope["better"].shape == scope["scores"].shape
    assert scope["run"].evaluate("data_samples/gt.json")["t2v"]["R@1"] > 40


def test_the_readme_names_exports_as_they_are_typed():
    from rerank.serving.stores.registry import STORES

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.search(r"exports to ([^.]*)\.", text)
    assert listed is not None
    assert {name.lower() for name in listed[1].split(", ")} <= set(STORES.cards())


def test_the_readme_says_what_sizes_of_scores_are_ranked():
    import numpy as np

    from rerank import rerank
    from rerank.core.errors import RerankError

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    low, high = re.search(r"sizes of (\S+) to (\S+);", text).groups()
    scores = np.random.default_rng(0).normal(size=(20, 20))
    scores /= np.abs(scores).max()
    for size in (low, high):
        assert np.isfinite(rerank(scores * float(size))).all()
    for size in (float(low) / 2, float(high) * 2):
        with pytest.raises(RerankError, match=f"between {low} and 1e\\+?{high[2:]}"):
            rerank(scores * size)


def test_the_readme_is_one_screen_and_a_tour():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    fenced = [line for line in lines if line.startswith("```")]
    assert [fence for fence in fenced if fence == "```sh"] == ["```sh", "```sh"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        if not link.startswith("http"):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"


def test_the_picture_shows_what_apply_finds(tmp_path):
    place = ROOT / "data_samples" / "picture.py"
    spec = importlib.util.spec_from_file_location("make_picture", place)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    kept = ROOT / "data_samples" / "before_after.svg"
    assert script.picture() == kept.read_text(encoding="utf-8")
    assert kept.stat().st_size < 20_000
    shown = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")[2]
    assert shown.startswith("![") and "data_samples/before_after.svg" in shown


def sentences(text):
    """Of the prose: no code, tables, headings, formulas or addresses."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"^(\||#| {4}).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        yield from re.split(r"(?<=[.!?:;])\s", paragraph)


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page):
    long = [
        sentence
        for sentence in sentences((ROOT / page).read_text(encoding="utf-8"))
        if len(re.findall(r"\S*\w\S*", sentence)) >= 25
    ]
    assert not long, f"{page}: {long}"
