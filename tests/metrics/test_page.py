"""The report is one file: it loads nothing, runs its own script alone, and has the same bytes."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from rerank.core.similarity import Dense
from rerank.methods import directions
from rerank.metrics import browse, hubness, pictures, plots, svg
from rerank.metrics import page as report
from rerank.metrics import ranks as metrics
from rerank.metrics import tables as comparison
from rerank.metrics.uncertainty import Difference
from rerank.tasks.compare import compare

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</td></table><svg onload=alert(1)>",
    "</title><style>*{display:none}</style>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; <!-- ",
    "]]><iframe src='javascript:alert(1)'>",
    "\u202egnp.oediv\u2028",
    "__proto__",
]


class Reader(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def found():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(10, 10)) + np.linspace(3, 0, 10)
    both = directions.from_scores(Dense(scores))
    return compare(
        both, np.arange(10)[:, None], methods="sinkhorn,csls", cross_fit=True, resamples=50
    )


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def queries(ids, *, n=10, truth=True, seed=0, **words):
    rng = np.random.default_rng(seed)
    raw, better = Dense(rng.normal(size=(n, n))), Dense(rng.normal(size=(n, n)) + 2 * np.eye(n))
    right = [np.array([i]) for i in range(n)] if truth else [np.empty(0, dtype=int)] * n
    ranks = [metrics.ranks(sim, right) if truth else None for sim in (raw, better)]
    browser = browse.Browser("t2v", browse.lists_of(raw), browse.lists_of(better), right, *ranks)
    return report.Queries([browser], ids, ids, **words)


def data_of(page):
    inside = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert inside is not None
    return json.loads(inside.group(1))


def test_foreign_text_is_shown_and_never_runs(found):
    plain_ids = list("abcdefghij")
    pages = []
    for ids in (ATTACKS, plain_ids):
        words = {"captions": dict.fromkeys(ids, ids[0]), "thumbnails": {}}
        pages.append(
            report.render(
                report.from_comparison(found, {"t2v": ids, "v2t": ids}), title=ids[0],
                subtitle=ids[3], notes=[*ids, "a note"], verdicts=ids, facts=[("File", ids[0])],
                queries=queries(ids, **words),
            )
        )  # fmt: skip
    hostile, harmless = map(read, pages)
    assert hostile.tags == harmless.tags
    assert hostile.tags.count("script") == 2  # the data and the page's own
    assert not {"iframe", "img", "object", "embed", "link"} & set(hostile.tags)
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    text = "".join(hostile.text)
    hubs = [ATTACKS[row] for row, first, _ in found.tables[0].raw.hubness.top(10) if first]
    assert hubs and all(name in text for name in hubs)
    assert all(note in text for note in ATTACKS)
    assert data_of(pages[0])["texts"] == ATTACKS
    script = (report._TEMPLATES / "report.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


def test_the_page_stands_alone_and_only_its_own_script_may_run(found):
    page = report.render(report.from_comparison(found), queries=queries(list("abcdefghij")))
    reader = read(page)
    values = [value or "" for name, value in reader.attributes if name in ("src", "href")]
    assert not values
    assert (
        "url(http" not in page
        and "@import" not in page
        and "//" not in (page.split("<body>")[0].replace("<!--", ""))
    )
    policy = next(v for _, v in reader.attributes if v and "default-src" in v)
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    # Four tables with recalls, two of them with k-occurrence, and changes where a rank moved.
    moved = sum(
        not np.array_equal(table.raw.ranks.values, table.entries[0].ranks.values)
        for table in found.tables
    )
    assert page.count("<svg") == 4 + 2 + moved


def test_the_same_numbers_give_the_same_bytes(found):
    notes = comparison.footnotes(found)
    pages = {
        report.render(
            report.from_comparison(found), notes=notes, queries=queries(list("abcdefghij"))
        )
        for _ in range(2)
    }
    assert len(pages) == 1


def test_one_reranking_before_and_after():
    scores = np.random.default_rng(1).normal(size=(30, 30)) + np.eye(30)
    sim = Dense(scores)
    ranks = metrics.ranks(sim, np.arange(30))
    section = report.before_after(
        "t2v", "transductive", before=ranks, after=ranks,
        hubness_before=hubness.summary(sim), hubness_after=hubness.summary(sim),
        headers=["", "R@1"], rows=[["before", "50.0"], ["after", "55.0"]],
        scores=browse.scores_of(sim, [np.array([i]) for i in range(30)]),
    )  # fmt: skip
    page = report.render([section], title="Evaluation")
    text = " ".join("".join(read(page).text).split())
    assert "texts to videos (t2v)" in text and "55.0" in text and "Before:" in text
    assert "The two rankings find as much at every K." in text
    # An empty picture is none.
    assert "Places gained and lost" not in text


def test_a_page_without_ground_truth_has_no_figures():
    sim = Dense(np.random.default_rng(1).normal(size=(10, 10)))
    section = report.before_after(
        "t2v", "inductive", hubness_before=hubness.summary(sim), size=(10, 10)
    )
    page = report.render([section], queries=queries(list("abcdefghij"), truth=False))
    assert set(data_of(page)["browsers"][0]["rankBefore"]) == {None}
    assert "R@" not in "".join(read(page).text).split('"use strict"')[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Difference(50, 56, 4, 8, 0.0001), "better; R@1 50.0 before and 56.0 after (+6.0"),
        (Difference(50, 44, -8, -4, 0.001), "worse; "),
        (Difference(50, 51, -1, 3, 0.4), "no certain difference; "),
        (Difference(50, 66, np.nan, np.nan, np.nan), "not known to be better or worse, too few "),
        (Difference(50, 50, 0, 0, 1.0), "no difference; "),
        (None, "nothing was re-ranked"),
    ],
)
def test_the_verdict_follows_the_change(change, said):
    sentence = report.verdict("t2v", "inductive", "R@1", change)
    assert said in sentence and sentence.count(".") >= 1


def test_what_moved_without_a_fit_is_no_re_ranking_of_nothing():
    better = Difference(50, 56, 4, 8, 0.0001)
    assert "better; " in report.verdict("t2v", "none", "R@1", better)
    same = Difference(50, 50, 0, 0, 1.0)
    assert "nothing was re-ranked" in report.verdict("t2v", "none", "R@1", same)


@pytest.mark.parametrize("largest", [1, 3, 100, 5000, 10_000, 10**6])
def test_ticks_have_room_and_zero_has_no_sign(largest):
    def words(low, *, x_log):
        x = np.array([low, largest])
        drawn = svg.svg(pictures.Picture("", "", "x", "y", (("a", x, x),), x_log=x_log))
        return re.findall(r'class="x"[^>]*>([^<]*)<', drawn)

    assert 1 <= len(words(1, x_log=True)) <= 7
    found = words(-0.45 * largest, x_log=False)
    assert "0" in found and "-0" not in found


def test_pictures_draw_their_numbers():
    rng = np.random.default_rng(0)
    before, after = (
        metrics.ranks(Dense(rng.normal(size=(40, 40)) + shift * np.eye(40)), np.arange(40))
        for shift in (0.5, 2.0)
    )
    curve = pictures.recall_curve([("raw", before), ("better", after)])
    assert curve.series[1][2][0] == pytest.approx(100 * (after.values == 1).mean())
    changes = pictures.rank_changes(before, after)
    gain = before.values - after.values
    counts = changes.series[0][2]
    assert counts.sum() == (gain != 0).sum() and counts[3:].sum() == (gain > 0).sum()
    matched, others = rng.normal(1, 1, 500), rng.normal(0, 1, 700)
    scores = pictures.Scores(matched, others)
    assert scores.overlap == pytest.approx((others[None] > matched[:, None]).mean())
    pytest.importorskip("matplotlib")
    axes = plots.recall([("raw", before), ("better", after)])
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), curve.series[1][2])
    assert plots.rank_changes(before, after, axes) is axes
    assert plots.scores(matched, others).get_xlabel() == "score"


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_ten_thousand_hostile_queries_draw_a_screenful_of_rows(tmp_path):
    n = 10_000
    ids = [f"{ATTACKS[i % len(ATTACKS)]} {i}" for i in range(n)]
    rng = np.random.default_rng(0)
    lists = [browse.Lists(rng.integers(0, n, (n, 10)), rng.normal(size=(n, 10))) for _ in range(2)]
    right = [np.array([i]) for i in range(n)]
    ones = np.ones(n, dtype=np.int64)
    ranks = [
        metrics.Ranks(rng.integers(1, 50, n), ones, ones, n, ones.astype(bool)) for _ in range(2)
    ]
    browser = browse.Browser("t2v", *lists, right, *ranks)
    page = report.render([], queries=report.Queries([browser], ids, ids))
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom",
            f"file://{tmp_path / 'page.html'}",
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    dom = read(done.stdout)
    rows = [value for name, value in dom.attributes if name == "role" and value == "option"]
    assert 5 < len(rows) < 60
    assert "10000 of 10000 queries" in "".join(dom.text)
    assert not {"img", "iframe"} & set(dom.tags)
    # What comes to the top counts more than what moves far down the list.
    gain = 1 / ranks[1].values - 1 / ranks[0].values
    best = int(np.lexsort((np.arange(n), -gain))[0])
    assert f"Place of the best right item: {ranks[0].values[best]:.0f} before" in "".join(dom.text)


def _contrast(one, two):
    """Of two colours, as WCAG 2.2 has it."""

    def luminance(colour):
        digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
        parts = np.array([int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted(map(luminance, (one, two)))
    return (light + 0.05) / (dark + 0.05)


def test_every_curve_and_word_stands_out_in_both_themes():
    style = (report._TEMPLATES / "report.html.j2").read_text()
    themes = [dict(re.findall(r"--(\w+): #(\w+)", part))
              for part in re.findall(r":root \{(.*?)\}", style, re.S)[:2]]  # fmt: skip
    assert [f"#{themes[0][f'c{index}']}" for index in range(6)] == list(plots.COLOURS)
    for theme in themes:
        for name in ("c0", "c1", "c2", "c3", "c4", "c5"):
            assert _contrast(theme[name], theme["bg"]) >= 3, name
        for name in ("ink", "soft", "good", "bad", "accent"):
            assert _contrast(theme[name], theme["bg"]) >= 4.5, name
            assert _contrast(theme[name], theme["panel"]) >= 4.5, name
        for name in ("ink", "soft"):
            assert _contrast(theme[name], theme["mark"]) >= 4.5, name
