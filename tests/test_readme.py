"""What the README prints works as it stands: its Python runs, its links lead somewhere."""

import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", *(str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("rerank/**/README.md")))]


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_python_of_the_readme_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    scope = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for code in blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python"):
            exec(compile(code, "README.md", "exec"), scope)
    assert scope["better"].shape == scope["scores"].shape
    assert scope["run"].evaluate("data_samples/gt.json")["t2v"]["R@1"] > 40


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
