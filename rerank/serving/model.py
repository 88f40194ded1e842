"""The object a user holds: a fitted gallery that ranks queries it has never seen.

model = rerank.fit(videos, bank_texts=..., bank_videos=...)
model.search(new_texts, k=10)                # ids and scores
model = model.add(more_videos).remove(["v7"])
model.save("m.safetensors"); model.export("faiss", "videos.faiss")
rerank.load("m.safetensors").search(new_texts)
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rerank.core.arrays import pandas_module
from rerank.core.errors import RerankError, RerankWarning
from rerank.core.handed import readable
from rerank.core.similarity import ArrayLike, Pair, Similarity, as_matrix
from rerank.core.torch_state import usual_state
from rerank.core.wording import either
from rerank.core.words import Label, Metric, Side
from rerank.io import Embeddings, held
from rerank.io.swapped_files import said_of_one
from rerank.methods import saved as files
from rerank.methods.base import FittedPipeline
from rerank.methods.confidence import Confidence, Sure
from rerank.methods.fusion import Blocks
from rerank.methods.saved import Saved
from rerank.serving import grow
from rerank.serving.fold import plain_folding
from rerank.serving.matching import align, check_queries, check_served, label_of
from rerank.serving.searcher import Searcher
from rerank.serving.trained import each_through, folded_head, heads_of, through
from rerank.serving.watch import look_at

_GALLERY = "gallery.vectors"


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found: the k best items of every query, best first.

    Attributes:
        ids: (n, k) names of the items.
        scores: (n, k) float32.
        label: which queries were used to fit: none, inductive or transductive.
        notes: what the user should know, one sentence each.
        rows: (n, k) int64 places of the items in the gallery.
        query_ids: names of the queries, where they had any.
        confidence: (n,) that the first result is right, where it was asked for.
        no_match: (n,) that nothing in the gallery is right, likewise.
    """

    ids: np.ndarray
    scores: np.ndarray
    label: Label
    notes: tuple[str, ...]
    rows: np.ndarray
    query_ids: tuple[str, ...] | None = None
    confidence: np.ndarray | None = None
    no_match: np.ndarray | None = None

    def __repr__(self) -> str:
        n, k = self.ids.shape
        first = f", first {self.ids[0, 0]!r} {self.scores[0, 0]:.4f}" if n else ""
        return f"Found({n} queries x {k} items{first}, label {self.label})"

    def __len__(self) -> int:
        return len(self.ids)

    def to_pandas(self) -> Any:  # noqa: ANN401  a pandas.DataFrame
        """A table of `query` (its name or row number), `rank` (from 1), `id` and `score`.

        Raises:
            RerankError: pandas is not installed.
        """
        n, k = self.ids.shape
        return pandas_module().DataFrame(
            {
                "query": np.repeat(np.asarray(self.query_ids or range(n), dtype=object), k),
                "rank": np.tile(np.arange(1, k + 1), n),
                "id": self.ids.reshape(-1),
                "score": self.scores.reshape(-1),
            }
        )

    def _repr_html_(self) -> str:
        from markupsafe import escape

        names = self.query_ids or tuple(map(str, range(len(self))))
        rows = "".join(
            f"<tr><td>{escape(name)}</td>"
            + "".join(
                f"<td>{escape(item)} {score:.4f}</td>"
                for item, score in zip(ids[:5], scores[:5], strict=True)
            )
            + "</tr>"
            for name, ids, scores in zip(names[:10], self.ids, self.scores, strict=False)
        )
        return f"<p>{escape(repr(self))}</p><table>{rows}</table>"


@dataclass(frozen=True, eq=False)
class Model:
    """A fitted reranker of one gallery. Every method returns something new.

    Attributes:
        saved: fitted stages, ids, manifest and what else a model file holds.
        gallery: (m, d) embeddings in the order of the ids, as the fit saw them; None where the
            file was written without them, then `with_gallery` gives them back.
    """

    saved: Saved
    gallery: Tensor | None = None

    def __repr__(self) -> str:
        about = self.saved.manifest
        ids = self.saved.gallery_ids
        items = "no gallery" if ids is None else f"{len(ids)} items"
        searched = "" if self.gallery is not None or ids is None else ", vectors not kept"
        return (
            f"Model({items}{searched}, {about.get('direction', '?')}, "
            f"{about.get('method', '?')}, label {self.saved.fitted.label})"
        )

    def __len__(self) -> int:
        return len(self.saved.gallery_ids or ())

    @property
    def ids(self) -> tuple[str, ...] | None:
        """Names of the items."""
        return self.saved.gallery_ids

    @property
    def fitted(self) -> FittedPipeline:
        """The fitted stages."""
        return self.saved.fitted

    @property
    def label(self) -> Label:
        """Which queries were used to fit."""
        return self.saved.fitted.label

    @property
    def manifest(self) -> dict[str, Any]:
        """Settings, hashes and notes, as JSON values."""
        return dict(self.saved.manifest)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the fit wants the user to know."""
        return tuple(self.saved.manifest.get("notes", ()))

    @property
    def blocks(self) -> Blocks | None:
        """How rows of several models are joined, where a fusion was fitted."""
        found = self.saved.manifest.get("blocks")
        return None if found is None else Blocks.from_dict(found)

    @property
    def metric(self) -> Metric:
        """How embeddings are compared."""
        return self.saved.manifest["metric"]

    @cached_property
    def _words(self) -> tuple[Side, Side]:
        """What the gallery and the queries are."""
        t2v = self.saved.manifest["direction"] == "t2v"
        return ("videos", "texts") if t2v else ("texts", "videos")

    @cached_property
    def _heads(self) -> Any:  # noqa: ANN401  rerank.train.heads.Heads
        return heads_of(self.saved)

    @cached_property
    def _searcher(self) -> Searcher:
        return Searcher.of_aligned(self.saved, self._vectors())

    def _vectors(self) -> Tensor:
        check_served(self.saved)
        if self.gallery is None:
            raise RerankError(
                "the model was saved without the vectors of its gallery; give them: "
                "model.with_gallery(embeddings)"
            )
        return self.gallery

    @usual_state()
    def with_gallery(self, gallery: Any, *, ids: Sequence[str] | None = None) -> "Model":  # noqa: ANN401
        """The same model with the embeddings that it was fitted on, matched by id and checked.

        Args:
            gallery: embeddings: an array, a tensor, a DataFrame, `Embeddings` or a path.
            ids: their names, where `gallery` has none; by default in the model's order.

        Raises:
            RerankError: items that are missing, new, or other than when the model was fitted.
        """
        check_served(self.saved)
        word, known = self._words[0], self.saved.gallery_ids
        assert known is not None
        names, vectors, _ = named_vectors(gallery, ids, known, self.metric, side=word)
        x = through(self._heads, vectors, self._words[0])
        return replace(self, gallery=align(self.saved, names or known, x))

    @property
    def confidence(self) -> Confidence | None:
        """What turns scores into confidence, where the model was fitted with it."""
        found = self.saved.manifest.get("confidence")
        return None if found is None else Confidence.from_dict(found)

    @usual_state()
    def sure(self, queries: Any) -> Sure:  # noqa: ANN401  embeddings
        """Confidence and "no match" of every query, each by itself.

        Raises:
            RerankError: a model that was fitted without.
        """
        settings = self.confidence
        if settings is None:
            way = either(
                "rerank fit --confidence --bank-texts ... --bank-videos ... --bank-gt ...",
                "rerank.fit(..., bank_texts=..., bank_videos=..., bank_gt=..., confidence=True)",
            )
            raise RerankError(f"the model has no confidence: fit it with pairs of a bank: {way}")
        return settings.of(
            self.transform(Pair(self._queries(queries), self._vectors(), self.metric))
        )

    @usual_state()
    def search(self, queries: Any, k: int = 10, *, confidence: bool = False) -> Found:  # noqa: ANN401
        """The k best items of every query, each ranked independently of the others.

        Notes tell where 30 or more queries look different from those of the bank.

        Args:
            queries: (n, d) embeddings or one (d,): array, tensor, DataFrame, `Embeddings` or path.
                Of several models that were fused: a list with those of each, or joined rows.
            k: between 1 and the number of items.
            confidence: also say how sure each first result is, and whether there is any.

        Raises:
            RerankError: a model without its gallery or confidence, queries of another dimension.
        """
        names, vectors = self._asked(queries)
        x = self._seen(vectors)
        found = self._searcher.search(x, k)
        label, said = label_of(self.saved, x)
        notes = tuple(note for note in (said, look_at(self.saved, x)) if note)
        rows = found.indices.numpy()
        sure = vars(self.sure(vectors)) if confidence else {}
        return Found(
            self._names[rows], found.scores.numpy(), label, notes, rows,
            None if names is None else tuple(names), **sure,
        )  # fmt: skip

    @cached_property
    def _names(self) -> np.ndarray:
        """(m,) the ids, for look-ups."""
        return np.array(self.saved.gallery_ids, dtype=object)

    def _asked(self, queries: Any) -> tuple[Sequence[str] | None, ArrayLike]:  # noqa: ANN401
        """Names and rows of queries, those of several models joined."""
        check_served(self.saved)
        if self.blocks is not None and isinstance(queries, list | tuple):
            parts = [self._read_queries(x) for x in queries]
            return parts[0].names, self.blocks.join([part.vectors for part in parts])
        asked = self._read_queries(queries)
        return asked.names, asked.vectors

    def _read_queries(self, queries: Any) -> "Named":  # noqa: ANN401  embeddings
        asked = named_vectors(queries, None, None, self.metric, side=self._words[1])
        _say(said_of_one(asked.held, self._words[1], beside=self.saved.gallery_ids))
        return asked

    def _queries(self, queries: Any) -> Tensor:  # noqa: ANN401  embeddings
        return self._seen(self._asked(queries)[1])

    def _seen(self, vectors: ArrayLike) -> Tensor:
        """Queries as the gallery is compared with them: through their head, of its dimension."""
        x = each_through(self._heads, vectors, self._words[1])
        check_queries(self.saved, x)
        return x

    @usual_state()
    def fold(self, queries: Any) -> np.ndarray:  # noqa: ANN401  embeddings
        """(n, d + r) float32 vectors whose inner products with the exported items are the scores.

        For a store that was exported with its defaults and space "ip"; other exports say in their
        side-car how queries become vectors.

        Raises:
            RerankError: a method that does not fold.
        """
        folding, _ = plain_folding(self.saved.fitted, self.metric)
        return folding.queries(self._queries(queries)).numpy()

    @usual_state()
    def transform(self, sim: Similarity) -> Similarity:
        """A rewritten similarity, see `Fitted.transform`."""
        return self.saved.fitted.transform(sim)

    @usual_state()
    def add(self, items: Any, *, ids: Sequence[str] | None = None) -> "Model":  # noqa: ANN401
        """A model of a larger gallery: new items get a bias from the bank, old ones keep theirs.

        Args:
            items: (p, d) embeddings of new items.
            ids: their names, where `items` has none.

        Raises:
            RerankError: a model without its bank, a method that has no bias for a single item, or
                ids that are there already.
        """
        check_served(self.saved)
        names, vectors, read = named_vectors(items, ids, None, self.metric, side=self._words[0])
        _say(said_of_one(read, self._words[0], beside=None))
        if names is None:
            raise RerankError(
                "add: the new items have no names; give them: model.add(vectors, ids=[...])"
            )
        x = through(self._heads, vectors, self._words[0])
        grown = grow.add_items(self.saved, names, x)
        old = self.gallery
        if old is None:
            return Model(grown)
        return Model(grown, torch.cat([old, x.cpu().to(old.dtype)]))

    @usual_state()
    def remove(self, ids: Sequence[str]) -> "Model":
        """A model of a smaller gallery; the items that stay keep their biases.

        Raises:
            RerankError: an id that is not in the gallery, or nothing would be left.
        """
        if isinstance(ids, str):
            raise RerankError(f"remove: got the text {ids!r}, expected a list of ids: [{ids!r}]")
        smaller = grow.remove_items(self.saved, list(ids))
        if self.gallery is None:
            return Model(smaller)
        gone = set(ids)
        keep = [row for row, name in enumerate(self.saved.gallery_ids or ()) if name not in gone]
        return Model(smaller, self.gallery[torch.tensor(keep)])

    @usual_state()
    def save(self, path: str | Path, *, keep_gallery: bool = True) -> None:
        """Write a model file; with the gallery's vectors it searches on its own.

        Args:
            path: the file, replaced as a whole or not at all.
            keep_gallery: whether the vectors go in; without them the file is tiny and
                `with_gallery` gives them back.

        Raises:
            RerankError: a folder that cannot be written.
        """
        if not isinstance(path, str | Path):
            raise RerankError(f"save: got {type(path).__name__}, expected a path")
        kept = dict(self.saved.kept)
        if keep_gallery and self.gallery is not None:
            kept[_GALLERY] = self.gallery
        files.save(
            path, self.saved.fitted, gallery_ids=self.saved.gallery_ids,
            manifest=self.saved.manifest, kept=kept,
        )  # fmt: skip

    @usual_state()
    def export(self, to: str, out: str | Path, *, queries: Any = None, **options: Any) -> Any:  # noqa: ANN401
        """Write the folded gallery for a store, search it, and measure what is found.

        Args:
            to: name of a store: faiss, npy, parquet, qdrant, lancedb, pgvector, usearch.
            out: the file or folder; ids, map and a query script go beside it.
            queries: embeddings to measure with.
            **options: see `rerank.serving.exporting.export`: index="hnsw", recall=.99, ...

        Returns:
            What lies beside the export; `.manifest["recall"]` is what was measured.
        """
        from rerank.serving.exporting import export

        vectors = self._vectors()
        assert self.saved.gallery_ids is not None
        head = folded_head(self._heads, self._words[1])
        asked = None if queries is None else self._queries(queries)
        return export(
            self.saved, self.saved.gallery_ids, vectors, Path(out), to=to, queries=asked,
            head=head, **options,
        )  # fmt: skip


@usual_state()
def load(path: str | Path) -> Model:
    """Read a model that `Model.save`, `rerank.save` or `rerank fit` wrote; nothing is unpickled.

    Raises:
        FormatError: not such a file, damaged, or of another format version.
    """
    if not isinstance(path, str | Path):
        raise RerankError(f"load: got {type(path).__name__}, expected a path")
    read = files.read_model(path)
    gallery = read.kept.get(_GALLERY)
    kept = {name: tensor for name, tensor in read.kept.items() if name != _GALLERY}
    return Model(replace(read, kept=kept), gallery)


class Named(NamedTuple):
    """Names and rows of embeddings as they are computed with, and what was read."""

    names: Sequence[str] | None
    vectors: ArrayLike
    held: Embeddings


def _say(said: str) -> None:
    """Warn whoever called the model."""
    if said:
        warnings.warn(said, RerankWarning, stacklevel=4)


def named_vectors(
    given: Any,  # noqa: ANN401  embeddings of any kind
    ids: Sequence[str] | None,
    otherwise: Sequence[str] | None,
    metric: str,
    *,
    side: Side,
) -> Named:
    """Embeddings as people have them; `otherwise` names those without ids, `side` says the side.

    Raises:
        RerankError: what is no embeddings, or as many ids as do not fit.
    """
    if isinstance(given, torch.Tensor):
        given = readable(given, "embeddings")
    if isinstance(given, torch.Tensor | np.ndarray) and given.ndim == 1:
        given = given[None]
    role = side if isinstance(given, str | Path) else "embeddings"
    found, vectors = held(given, role=role, ids=ids, metric=metric)
    names = found.ids if found.ids_given or ids is not None else otherwise
    if names is not None and len(names) != len(vectors):
        raise RerankError(f"got {len(names)} ids for {len(vectors)} rows of embeddings")
    return Named(names, as_matrix(vectors, "embeddings", keep_half=True), found)
