"""Tables for papers: what is bold is best, what is printed parses, and nothing is there twice."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

import rerank
from rerank.core.errors import RerankError
from rerank.core.similarity import Dense
from rerank.methods import directions
from rerank.metrics import paper, tables
from rerank.metrics.figures import tex_text
from rerank.metrics.tables import render as comparison_text
from rerank.metrics.tables import to_json
from rerank.tasks.compare import compare

COLUMNS = ["R@1", "R@5", "MdR", "RSum", "nDCG@10"]


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 60)) + 1.5 * np.eye(60) + np.linspace(1, 0, 60)
    return compare(
        directions.from_scores(Dense(scores)), np.arange(60)[:, None],
        methods="sinkhorn,csls,dsl", cross_fit=True, figures=COLUMNS, resamples=50,
    )  # fmt: skip


def block_of(made):
    return next(block for block in made.blocks if block.heading.startswith("Transductive"))


def cells_of(text):
    """Rows of a tabular, and a check that LaTeX would take them."""
    assert "%" not in re.sub(r"\\%|^%.*$", "", text, flags=re.M)
    bare = re.sub(r"\\[{}%&#$_]", "", text)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    assert re.findall(r"\\begin{(\w+)}", text) == re.findall(r"\\end{(\w+)}", text)[::-1]
    body = text.split(r"\toprule" + "\n")[1].split(r"\bottomrule")[0]
    spec = re.search(r"\\begin{tabular}{([lr]+)}", text)
    assert spec is not None
    rows = []
    for line in body.splitlines():
        if not line.endswith(r"\\"):
            assert re.fullmatch(r"(\\midrule|(\\cmidrule{\d+-\d+} ?)+)", line)
            continue
        cells = re.split(r"(?<!\\)&", line.removesuffix(r"\\"))
        spans = [re.match(r"\s*\\multicolumn{(\d+)}", cell) for cell in cells]
        assert sum(int(s.group(1)) if s else 1 for s in spans) == len(spec.group(1))
        rows.append([cell.strip() for cell in cells])
    return rows


def test_latex_compiles_by_its_own_rules(found):
    text = found.to_latex()
    rows = cells_of(text)
    assert rows[0][1:] == [
        r"\multicolumn{4}{c}{Texts to videos}", r"\multicolumn{4}{c}{Videos to texts}",
        r"\multicolumn{1}{c}{Both}",
    ]  # fmt: skip
    assert rows[1] == ["Method", *["R@1", "R@5", "MdR", "nDCG@10"] * 2, "RSum"]
    assert text.count(r"\begin{tabular}") == 1
    assert r"\caption{" in text and r"\label{tab:rerank}" in text and "transductive" in text
    assert "Protocol pairs, ties expected, rerank" in text


def test_every_rule_is_defined_without_booktabs(found):
    text = found.to_latex()
    for rule in ("toprule", "midrule", "bottomrule", "cmidrule"):
        assert rf"\providecommand{{\{rule}}}" in text


def test_bold_is_best_and_underlined_second(found):
    made = paper.sheet(found)
    rows = [*made.blocks[0].rows, *block_of(made).rows]
    for column, higher in ((0, True), (1, True), (2, False), (8, True)):
        shown = [float(row[column].text) for _, row in rows]
        ranked = sorted(set(shown), reverse=higher)
        # The raw row heads several blocks, so it carries no mark itself.
        for value, (_, row) in list(zip(shown, rows, strict=True))[1:]:
            place = ranked.index(value) + 1
            assert row[column].place == (place if place <= 2 else 0)


def test_stars_follow_the_corrected_p_values(found):
    table = next(t for t in found.tables if (t.direction, t.label) == ("t2v", "transductive"))
    corrected = paper.holm([entry.changes["R@1"].p for entry in table.entries])
    block = block_of(paper.sheet(found))
    for entry, p in zip(table.entries, corrected, strict=True):
        row = dict(block.rows)[paper.title(entry.method)]
        assert len(row[0].stars) == sum(p < below for below in (0.05, 0.01, 0.001))


def test_nothing_is_there_twice_and_no_label_without_a_row(found):
    made = paper.sheet(found)
    names = [[name for name, _ in block.rows] for block in made.blocks]
    assert names[0] == ["Raw scores"] and len(names[2]) == len(set(names[2])) == 3
    headings = [block.heading for block in made.blocks]
    assert len(headings) == 3 and not any(h.startswith("Inductive") for h in headings)
    assert names[1][0] == "Raw scores"  # cross-fit has galleries, and so raw scores, of its own
    lines = list(csv.reader(io.StringIO(found.to_csv())))
    keys = [tuple(line[:3]) for line in lines[1:]]
    assert len(keys) == len(set(keys)) == 2 * (1 + 3) * 2


def test_columns_choose_and_order(found):
    assert cells_of(found.to_latex(columns="MdR,R@1"))[1] == ["Method", *["MdR", "R@1"] * 2]
    with pytest.raises(RerankError, match="'R@50' was not measured"):
        found.to_markdown(columns="R@50")


def test_every_format_shows_the_same_numbers(found):
    row = dict(block_of(paper.sheet(found)).rows)["CSLS"]
    for text in (found.to_latex(), found.to_markdown(), found.to_html()):
        for cell in row:
            assert cell.text in text
    value = next(e for e in found.tables[0].entries if e.method == "csls").figures["R@1"]
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    mine = [x for x in lines if (x["method"], x["direction"]) == ("csls", "t2v")]
    assert float(mine[0]["R@1"]) == pytest.approx(value, abs=1e-4)
    pipes = [line for line in found.to_markdown().splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in pipes}) == 1


def test_pandas_has_the_exact_numbers(found):
    pytest.importorskip("pandas")
    frame = found.to_pandas()
    one = frame[(frame.method == "dsl") & (frame.direction == "v2t")].iloc[0]
    table = next(t for t in found.tables if (t.direction, t.label) == ("v2t", one.label))
    entry = next(e for e in table.entries if e.method == "dsl")
    assert one["R@5"] == entry.figures["R@5"] and one["R@5 p"] == entry.changes["R@5"].p


def test_no_format_changes_from_run_to_run_unless_asked(found):
    assert "seconds" not in str(to_json(found)) and "seconds" in str(to_json(found, cost=True))
    for text in (str(found), found.to_latex(), found.to_csv(), found.to_html()):
        assert "memory" not in text and "time" not in text


def test_cost_is_in_every_format_that_is_asked_for_it(found):
    for style in ("table", "latex", "markdown", "html"):
        assert "memory" in comparison_text(found, style, cost=True).lower(), style
    assert "peak_bytes" in comparison_text(found, "csv", cost=True)
    assert len(cells_of(found.to_latex(cost=True))[1]) == len(cells_of(found.to_latex())[1]) + 2


def test_methods_that_rank_alike_share_a_row_unless_their_cost_is_shown():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(40, 8))
    names = "csls,dsl-clip-vip,dsl-camoe,is,dis"
    found = rerank.compare(texts, texts + rng.normal(size=(40, 8)), methods=names, resamples=20)
    for cost, said in (
        (False, {"CSLS", "Dual softmax (CAMoE, CLIP-ViP, InternVideo)",
                 "Dynamic inverted softmax, Inverted softmax"}),
        (True, {"CSLS", "Dual softmax (CAMoE, CLIP-ViP, InternVideo)", "Dual softmax (CLIP-ViP)",
                "Inverted softmax", "Dynamic inverted softmax"}),
    ):  # fmt: skip
        rows = [name for name, _ in block_of(paper.sheet(found, cost=cost)).rows]
        assert len(rows) == len(set(rows)) and set(rows) == said
    first = [line.split("  ")[0] for line in str(found).splitlines()[2:6]]
    assert set(first) == {"none", "csls", "dsl-camoe", "dis, is"}
    # Programs get a row for each.
    assert {line["method"] for line in paper.records(found)} == {*names.split(","), "none"}


def test_html_is_escaped_and_balanced(found):
    stack = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Reader().feed(found.to_html())
    assert not stack and "p &lt; 0.05" in found.to_html()


def test_latex_is_escaped():
    assert tex_text("50 % & x_y #1 $2 <3 a\\b {c}") == (
        r"50 \% \& x\_y \#1 \$2 $<$3 a\textbackslash{}b \{c\}"
    )
    assert paper.title("em+sinkhorn") == "EM + Sinkhorn"
    assert paper._tex_title(paper.title("alpha-qe+csls")) == r"$\alpha$QE + CSLS"


def test_every_method_has_a_name_as_papers_write_it():
    from rerank.methods.registry import METHODS

    for name in METHODS:
        assert paper.title(name) != name, name
        assert not paper.title(name)[0].islower()


def test_without_a_bank_nothing_is_called_inductive_and_no_ranking_comes_twice():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(40, 8))
    found = rerank.compare(texts, texts + rng.normal(size=(40, 8)), resamples=20)
    assert "inductive" not in found.to_latex().lower()
    methods = [entry.method for table in found.tables for entry in table.entries]
    assert "dsl-camoe" in methods and "dsl-clip-vip" not in methods
    assert "alpha-qe" in methods
    # The same reason is given once, for both directions.
    notes = [note for note in tables.footnotes(found) if note.startswith("left out")]
    assert notes and len({note.split(": ", 2)[2] for note in notes}) == len(notes)


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.slow
@pytest.mark.skipif(PDFLATEX is None, reason="no LaTeX")
@pytest.mark.parametrize("packages", [(), ("booktabs",), ("booktabs", "graphicx")])
def test_latex_compiles_and_fits_the_line_where_graphicx_is_loaded(found, packages, tmp_path):
    used = "".join(rf"\usepackage{{{name}}}" for name in packages)
    # The second table is wider than the line of an article.
    tables = found.to_latex(columns="R@1") + "\n" + found.to_latex()
    (tmp_path / "d.tex").write_text(
        rf"\documentclass{{article}}{used}\textwidth=180pt\begin{{document}}{tables}\end{{document}}"
    )
    made = subprocess.run(
        [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "d.tex"], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout[-2000:]
    assert ("Overfull" in made.stdout) is ("graphicx" not in packages)
