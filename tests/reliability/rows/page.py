"""Foreign text on the page, in a real browser."""

import html
import shutil
import subprocess
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rerank import Dense
from rerank.metrics import browse, page
from tests.reliability.matrix import Case, row

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAYLOADS = (
    "<script>document.title='RAN'</script>",
    '"><img src=x onerror="document.title=\'RAN\'">',
    "' autofocus onfocus='document.title=`RAN`",
    "</script><script>document.title='RAN'</script>",
    "</title><svg onload=document.title='RAN'>",
    "javascript:document.title='RAN'",
    "<!--<script>document.title='RAN'//-->",
    "{{ ''.__class__ }}{% print 7*7 %}",
    "]]><iframe srcdoc=\"<script>parent.document.title='RAN'</script>\">",
    "\\u003cscript\\u003edocument.title='RAN'\\u003c/script\\u003e",
)
PLACES = ("ids", "captions", "notes")


@row("HTML escaping in the report, real browser", "no script runs", quick=3)
def payloads():
    for place in PLACES:
        for number in range(len(PAYLOADS)):
            yield Case(f"{PAYLOADS[number]} in {place}", partial(_shown, place, number))


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.handlers, self.title, self.text = [], [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)
        if self.tags and self.tags[-1] == "title":
            self.title += data


def _page(place):
    """A page with every payload in one sort of place."""
    n = len(PAYLOADS)
    rng = np.random.default_rng(0)
    raw = Dense(rng.normal(size=(n, n)))
    better = Dense(rng.normal(size=(n, n)) + 2 * np.eye(n))
    right = [np.array([i]) for i in range(n)]
    browser = browse.Browser(
        "t2v", browse.lists_of(raw), browse.lists_of(better), right, None, None
    )
    ids = list(PAYLOADS) if place == "ids" else [f"q{i}" for i in range(n)]
    captions = dict(zip(ids, PAYLOADS, strict=True)) if place == "captions" else {}
    queries = page.Queries([browser], ids, ids, captions=captions, thumbnails={})
    notes = list(PAYLOADS) if place == "notes" else []
    return page.render([], title="plain", notes=notes, queries=queries)


@cache
def _dom(place):
    """What the browser made of it, scripts run; without a browser, the page as it was written."""
    text = _page(place)
    if CHROMIUM is None:
        return text
    with TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                f"--user-data-dir={folder}/profile", "--virtual-time-budget=3000", "--dump-dom",
                f"file://{path}",
            ],
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    return done.stdout


def _shown(place, number, folder):
    reader = _Reader()
    reader.feed(_dom(place))
    assert reader.title.strip().startswith("plain") and "RAN" not in reader.title, reader.title
    assert reader.tags.count("script") == 2, "another script"
    assert not {"iframe", "img", "object", "embed"} & set(reader.tags) and not reader.handlers
    # It is there, as text; without a browser, in the data that it is drawn from.
    shown = "".join(reader.text)
    if CHROMIUM is None:
        shown += shown.replace("\\u003c", "<").replace("\\u003e", ">").replace('\\"', '"')
    assert (
        PAYLOADS[number] in shown
        or html.escape(PAYLOADS[number]) in shown
        or (
            place == "captions"  # only those of the chosen query are drawn
        )
    )
