"""Makes the sample embeddings beside this file: `python data_samples/make.py [FOLDER]`.

Texts and videos as a zero-shot model gives them, in small. Every vector is

    content + cone of its modality + hubness * (cone of the other modality)

- content: one of 40 topics plus the item's own part plus noise, orthogonal to both cones;
- cones: one common direction per modality, stronger than the content. All texts therefore look
  alike, all videos too (anisotropy), and the two clouds lie apart (modality gap);
- hubness: how far an item leans towards the other cloud. A video that does is closer to *every*
  text; a few items are planted far out. The bank follows the same law with other items.

Seeded numpy only, no matrix products, so that every machine makes the same numbers. Row order,
order of the ids and order of the captions are three different things, on purpose.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np

SEED = 4
DIM = 128
N_TOPICS = 40
CONE_COSINE = 0.4  # between the two modalities' cones
CONE, TOPIC, OWN, VIDEO_NOISE, TEXT_NOISE = 2.0, 0.6, 0.8, 1.65, 1.7  # norms of the parts
HUBNESS, PLANTED, N_PLANTED = 0.08, 0.16, 8  # standard deviation, extra lean, how many items
CAPTIONS = ((1, 2, 3), (0.65, 0.25, 0.10))  # captions of a video, and how often
SIZES = {"": 500, "bank_": 400}  # videos by prefix of the file name

Samples = dict[str, tuple[list[str], np.ndarray]]


def unit(x):
    """Rows of norm one."""
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True))


def without(x, directions):
    """Rows of x made orthogonal to orthonormal directions."""
    for direction in directions:
        x = x - (x * direction).sum(axis=-1, keepdims=True) * direction
    return x


def modality(rng, content, noise, own_cone, other_cone, across):
    """Vectors of one modality; `across` spans the cones."""
    n = len(content)
    noisy = content + noise * rng.standard_normal((n, DIM))
    lean = HUBNESS * rng.standard_normal(n)
    lean[rng.choice(n, N_PLANTED, replace=False)] += PLANTED
    vectors = unit(
        without(noisy / np.sqrt(DIM), across) + CONE * own_cone + lean[:, None] * other_cone
    )
    norms = 10.0 * np.exp(0.05 * rng.standard_normal((n, 1)))
    return (norms * vectors).astype(np.float16)


def make() -> tuple[Samples, dict[str, dict[str, str]]]:
    """Ids and vectors by file name, and the ground truths (text -> video) by file name."""
    rng = np.random.default_rng(SEED)
    topics = rng.standard_normal((N_TOPICS, DIM))
    weights = rng.dirichlet(np.full(N_TOPICS, 2.0))
    text_cone = unit(rng.standard_normal(DIM))
    aside = unit(without(rng.standard_normal(DIM), [text_cone]))
    video_cone = CONE_COSINE * text_cone + np.sqrt(1 - CONE_COSINE**2) * aside

    samples, truths = {}, {}
    for prefix, n in SIZES.items():
        topic = rng.choice(N_TOPICS, n, p=weights)
        content = TOPIC * topics[topic] + OWN * rng.standard_normal((n, DIM))
        owner = rng.permutation(np.repeat(np.arange(n), rng.choice(CAPTIONS[0], n, p=CAPTIONS[1])))
        across = (text_cone, aside)
        videos = modality(rng, content, VIDEO_NOISE, video_cone, text_cone, across)
        texts = modality(rng, content[owner], TEXT_NOISE, text_cone, video_cone, across)
        video_ids = [f"{prefix}video{i + 1:04d}" for i in rng.permutation(n)]
        text_ids = [f"{prefix}text{i + 1:04d}" for i in rng.permutation(len(owner))]
        samples[f"{prefix}videos.h5"] = (video_ids, videos)
        samples[f"{prefix}texts.h5"] = (text_ids, texts)
        truth = {text: video_ids[i] for text, i in zip(text_ids, owner, strict=True)}
        truths[f"{prefix}gt.json"] = dict(sorted(truth.items()))
    return samples, truths


def sha256_of_texts(texts):
    """Hash of a list of texts, the length of every one included."""
    encoded = [text.encode() for text in texts]
    lengths = " ".join(str(len(text)) for text in encoded)
    head = f"text {len(encoded)}\n{lengths}\n".encode()
    return hashlib.sha256(head + b"".join(encoded)).hexdigest()


def content_sha256(ids, vectors):
    """The hash that readers of `rerank/1` compare: ids and vectors, whatever the file's layout."""
    wide = np.ascontiguousarray(vectors, dtype="<f4")
    head = f"{wide.dtype.str} {wide.shape}\n".encode()
    return sha256_of_texts(
        [sha256_of_texts(ids), hashlib.sha256(head + wide.tobytes()).hexdigest()]
    )


def write_embeddings(path, ids, vectors, kind):
    """Canonical HDF5; no time stamps, so that the same samples are the same bytes."""
    storage = {"fletcher32": True, "track_times": False}
    with h5py.File(path, "w", libver="earliest") as file:
        file.create_dataset("embeddings", data=vectors, chunks=vectors.shape, **storage)
        encoded = [name.encode() for name in ids]
        dtype = h5py.string_dtype("utf-8", max(map(len, encoded)))
        file.create_dataset(
            "ids", data=np.array(encoded, dtype=dtype), chunks=(len(ids),), **storage
        )
        file.attrs["rerank_schema"] = "rerank/1"
        file.attrs["kind"] = kind
        file.attrs["normalized"] = False
        file.attrs["model"] = "data_samples/make.py"
        file.attrs["content_sha256"] = content_sha256(ids, vectors)


def replace(path, write):
    """Write under a temporary name, flush, rename: the old or the new file, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def main(folder: Path) -> None:
    """Write all files into a folder."""
    samples, truths = make()
    for name, (ids, vectors) in samples.items():
        kind = "video" if "video" in name else "text"
        replace(folder / name, lambda path: write_embeddings(path, ids, vectors, kind))
        print(f"{name}: {vectors.shape[0]} x {vectors.shape[1]} {vectors.dtype}")
    for name, truth in truths.items():
        text = json.dumps(truth, indent=0) + "\n"
        replace(folder / name, lambda path: path.write_text(text, encoding="utf-8"))
        print(f"{name}: {len(truth)} texts")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
