"""The report is one file that loads nothing, runs nothing and is the same every time."""

from html.parser import HTMLParser

import numpy as np
import pytest

from rerank.core.similarity import Dense
from rerank.methods import directions
from rerank.metrics import hubness
from rerank.metrics import page as report
from rerank.metrics import ranks as metrics
from rerank.metrics import tables as comparison
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
    "\u202egnp.oediv",
    "javascript:alert(1)",
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


def test_foreign_text_is_shown_and_never_runs(found):
    ids = {"t2v": ATTACKS, "v2t": ATTACKS}
    sections = report.from_comparison(found, ids)
    page = report.render(
        sections, title=ATTACKS[0], subtitle=ATTACKS[3], notes=[*ATTACKS, "a note"]
    )
    plain = report.render(
        report.from_comparison(found, {"t2v": list("abcdefghij"), "v2t": list("abcdefghij")}),
        notes=["x"] * (len(ATTACKS) + 1),
    )
    hostile, harmless = read(page), read(plain)
    assert hostile.tags == harmless.tags
    assert not {"script", "iframe", "img", "object", "embed", "link"} & set(hostile.tags)
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    text = "".join(hostile.text)
    hubs = [ids["t2v"][row] for row, first, _ in found.tables[0].raw.hubness.top(10) if first]
    assert hubs and all(name in text for name in hubs)
    assert all(note in text for note in ATTACKS)


def test_the_page_stands_alone(found):
    page = report.render(report.from_comparison(found))
    reader = read(page)
    values = [value or "" for name, value in reader.attributes if name in ("src", "href")]
    assert not [value for value in values if not value.startswith("#")]
    assert "url(http" not in page and "@import" not in page
    assert "default-src 'none'" in page
    assert page.count("<svg") == 6  # four tables with recalls, two of them with k-occurrence


def test_the_same_numbers_give_the_same_bytes(found):
    notes = comparison.footnotes(found)
    pages = {report.render(report.from_comparison(found), notes=notes) for _ in range(2)}
    assert len(pages) == 1
    assert "<dc:date>" not in pages.pop()


def test_ids_inside_the_drawings_do_not_collide(found):
    reader = read(report.render(report.from_comparison(found)))
    clips = [
        value for name, value in reader.attributes if name == "id" and value and value[0] == "p"
        and not value.startswith("patch")
    ]  # fmt: skip
    assert len(clips) == len(set(clips)) > 0


def test_one_reranking_before_and_after():
    scores = np.random.default_rng(1).normal(size=(30, 30)) + np.eye(30)
    sim = Dense(scores)
    ranks = metrics.ranks(sim, np.arange(30))
    section = report.before_after(
        "t2v", "transductive", before=ranks, after=ranks,
        hubness_before=hubness.summary(sim), hubness_after=hubness.summary(sim),
        headers=["", "R@1"], rows=[["before", "50.0"], ["after", "55.0"]],
    )  # fmt: skip
    page = report.render([section], title="Evaluation")
    text = " ".join("".join(read(page).text).split())
    assert "texts to videos (t2v)" in text and "55.0" in text and "Before:" in text
