"""Ways out of files that are not read, as commands that run on the very file they are printed for.

A pickle can run any program when it is read, so none is ever read here; whoever trusts one turns
it into a plain file by a line of Python.
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rerank.core.shell import word as typed_word
from rerank.io.foreign_kinds import POINTS

PICKLES = (".pkl", ".pickle", ".joblib", ".p", ".dill", ".pckl")
_DANGER = "a pickle can run any program when it is read, so it is not read here; if you trust it: "
# A table of pandas.
_RECORDS = 'd = d.to_dict("records") if hasattr(d, "to_dict") else d; '
_SAVE = "from rerank.io.unpickled import save_plain; "
# Of protocol 2 and later, and of the text of protocol 0 and 1.
_BINARY = re.compile(rb"\x80[\x02-\x05]")
# What begins otherwise than any pickle: arrays, archives, tables, packed files, JSON.
_OTHER = (
    b"\x93NUMPY", b"PK\x03\x04", b"\x89HDF", b"PAR1", b"\x1f\x8b", b"BZh", b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd", b"{", b"[", POINTS,
)  # fmt: skip
# A number, pickled.
_OLD_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_TEXT = re.compile(rb"\(?[dlt][pq]\d+\n|[\]\}]q\x00|c[\w.]+\n[\w.]+\n")


def is_pickle(path: Path, head: bytes, *, named_for_it: bool = True) -> bool:
    r"""Whether a file is a pickle, from its name and its first bytes.

    >>> is_pickle(Path("x.pkl"), b""), is_pickle(Path("gt.txt"), b"(dp0\nVv0"), is_pickle(
    ...     Path("gt.json"), b"{")
    (True, True, False)

    Whatever its name, a file that begins as another kind does is none:

    >>> is_pickle(Path("x.pkl"), b"\x93NUMPY\x01\x00")
    False
    """
    if head.lstrip().startswith(_OTHER) or head[4:9] == b"\0\0\0\0{" or is_old_torch(head):
        return False
    if path.suffix.lower() in PICKLES:
        return True
    return named_for_it and (_BINARY.match(head) is not None or _TEXT.match(head) is not None)


def is_old_torch(head: bytes) -> bool:
    r"""Whether a file begins as those of torch.save did before it wrote archives.

    >>> is_old_torch(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."), is_old_torch(b"PK")
    (True, False)
    """
    return _OLD_TORCH in head[:32]


def from_pickle(path: Path) -> str:
    """Turns a pickle of `{id: vector}`, vectors, records, named arrays or a table into npz.

    >>> print(from_pickle(Path("v.pkl")).partition(" -c ")[2][:61])
    'import pickle; from rerank.io.unpickled import save_plain; s
    """
    load = f"pickle.load(open({_text(path)}, {quoted('rb')}), encoding={quoted('latin1')})"
    return _DANGER + _command(f"import pickle; {_SAVE}{_saved(load, path.with_suffix('.npz'))}")


def from_object_array(path: Path) -> str:
    """Turns a .npy of Python objects, `{id: vector}` or a list of vectors, into npz."""
    load = f"n.load({_text(path)}, allow_pickle=True)"
    out = path.with_suffix(".plain.npz")
    return _DANGER + _command(f"import numpy as n; {_SAVE}{_saved(load, out)}")


def from_object_archive(path: Path) -> str:
    """Turns the object arrays of an npz, such as ids or one dictionary, into text and numbers."""
    load = (
        f"import numpy as n; d = n.load({_text(path)}, allow_pickle=True); "
        "d = {k: d[k].tolist() if d[k].dtype.hasobject else d[k] for k in d.files}; "
        "d = {j: y for k, x in d.items() for j, y in (x.items() if isinstance(x, dict) else "
        "[(k, x)])}; "
    )
    made = _saved("d if len(d) > 1 else list(d.values())[0]", path.with_suffix(".plain.npz"))
    return _DANGER + _command(f"{load}{_SAVE}{made}")


def from_torch_objects(path: Path) -> str:
    """Turns a file of torch.save with more than tensors and lists, such as arrays, into npz."""
    return _DANGER + _from_torch(path, plain=False)


def from_torch_lists(path: Path) -> str:
    """Turns a file of torch.save with numbers in plain lists into npz; this runs nothing."""
    return _from_torch(path, plain=True)


def joined_torch(path: Path, name: str) -> str:
    """Joins the tensors of a list in a file of torch.save, which are parts of one; `name`: its key.

    Lists beside it that are in parts of the same lengths are joined too. This runs nothing.
    """
    load = f"torch.load({_text(path)}, map_location={quoted('cpu')}, weights_only=True)"
    out = _text(free(path.with_suffix(".joined.pt")))
    if not name:
        return _command(f"import torch; torch.save(torch.cat(list({load})), {out})")
    *above, key = name.split("/")
    at = "".join(f"[{quoted(each)}]" for each in above)
    return _command(
        f"import torch; d = {load}; b = d{at}; n = [len(x) for x in b[{quoted(key)}]]; "
        "b.update({k: torch.cat(list(x)) for k, x in b.items() if isinstance(x, (list, tuple)) and "
        "[len(y) for y in x if torch.is_tensor(y) and y.dim()] == n}); "
        f"torch.save(d, {out})"
    )


def named_torch(path: Path, names: Sequence[str]) -> str:
    """Names the tensors of a list in a file of torch.save; this runs nothing."""
    load = f"torch.load({_text(path)}, map_location={quoted('cpu')}, weights_only=True)"
    out = _text(free(path.with_suffix(".named.pt")))
    words = ", ".join(map(quoted, names))
    return _command(f"import torch; torch.save(dict(zip([{words}], {load})), {out})")


def joined_records(path: Path, box: str) -> str:
    """Joins the records of a list in a file of torch.save, which are batches; this runs nothing.

    `box` is the key of the list, "" where it is alone.
    """
    load = f"torch.load({_text(path)}, map_location={quoted('cpu')}, weights_only=True)"
    out = _text(free(path.with_suffix(".joined.pt")))
    at = f"[{quoted(box)}]" if box else ""
    return _command(
        f"import torch; d = {load}{at}; "
        f"torch.save({{k: torch.cat([r[k] for r in d]) if torch.is_tensor(d[0][k]) else "
        f"[x for r in d for x in r[k]] for k in d[0]}}, {out})"
    )


def joined_parts(path: Path) -> str:
    """Joins the arrays of a file that are called by numbers, which are parts of one, as HDF5."""
    out = _text(free(path.with_suffix(".joined.h5")))
    return _command(
        f"from rerank.io.numbered_parts import join_parts; join_parts({_text(path)}, {out})"
    )


def without_last_rows(paths: Sequence[Path], count: int) -> str:
    """Writes arrays of .npy again without their last rows."""
    pairs = "".join(
        f"({_text(path)}, {_text(free(path.with_suffix('.cut.npy')))}), " for path in paths
    )
    return _command(
        f"import numpy as n; [n.save(q, n.load(p).squeeze()[:-{count}]) for p, q in [{pairs[:-2]}]]"
    )


def unpadded_ids(path: Path, said: Mapping[str, str], option: str) -> str:
    """Writes the ids of a file, which are numbers, without the zeros before them.

    Args:
        path: a file of embeddings.
        said: keywords of `read_embeddings` that choose among what it holds.
        option: the option that takes a file of ids, as in "--video-ids {}".
    """
    out = free(path.with_suffix(".unpadded.txt"))
    more = "".join(f", {name}={quoted(value)}" for name, value in said.items())
    line = _command(
        f"from rerank.io.embeddings import read_embeddings as r; open({_text(out)}, "
        f"{quoted('w')}).writelines(str(int(x)) + chr(10) for x in "
        f"r({_text(path)}, metric={quoted('dot')}{more}).ids)"
    )
    return f"{line}, then {option.format(typed_word(out))}"


def without_id_column(path: Path, name: str, place: int, id_column: str = "") -> str:
    """Writes vectors without their first or last column, which holds their ids, as HDF5."""
    more = f", {quoted(id_column)}" if id_column else ""
    out = _text(free(path.with_suffix(".cut.h5")))
    return _command(
        f"from rerank.io.id_column import cut_id_column; "
        f"cut_id_column({_text(path)}, {out}, {quoted(name)}, {place}{more})"
    )


def hits_as_matrix(path: Path, scores: str, items: str) -> str:
    """Writes scores of the best hits, and the places of these, as a matrix, as npz."""
    out = _text(free(path.with_suffix(".matrix.npz")))
    return _command(
        f"from rerank.io.best_hits import write_matrix; write_matrix({_text(path)}, "
        f"{quoted(scores)}, {quoted(items)}, {out})"
    )


def hits_as_run(path: Path, scores: str, items: str) -> tuple[Path, str]:
    """Writes scores of the best hits, and the names of these, as a ranking; where to, and how."""
    out = free(path.with_suffix(".run.json"))
    return out, _command(
        f"from rerank.io.best_hits import write_run; write_run({_text(path)}, {quoted(scores)}, "
        f"{quoted(items)}, {_text(out)})"
    )


def without_ids_among(path: Path, scores: str) -> str:
    """Writes a matrix without the ids that stand among its scores, as npz."""
    return _command(
        f"from rerank.io.ids_among_scores import write_without; write_without({_text(path)}, "
        f"{quoted(scores)}, {_text(free(path.with_suffix('.cut.npz')))})"
    )


def _from_torch(path: Path, *, plain: bool) -> str:
    load = f"torch.load({_text(path)}, map_location={quoted('cpu')}, weights_only={plain})"
    return _command(f"import torch; {_SAVE}{_saved(load, path.with_suffix('.plain.npz'))}")


def from_old_torch(path: Path) -> str:
    """Turns a file of torch.save before 1.6 into one of today; this runs nothing."""
    out = free(path.with_suffix(".plain.pt"))
    return _command(
        f"import torch; torch.save(torch.load({_text(path)}, map_location={quoted('cpu')}, "
        f"weights_only=True), {_text(out)})"
    )


def from_bytes_column(path: Path, name: str) -> str:
    """Turns a column of the bytes of float32 into one of lists, in another table."""
    out, column = free(path.with_suffix(".plain.parquet")), quoted(name)
    return _command(
        f"import pyarrow as a, pyarrow.parquet as q, numpy as n; t = q.read_table({_text(path)}); "
        f"x = [n.frombuffer(b, n.float32) for b in t[{column}].to_pylist()]; "
        f"q.write_table(t.set_column(t.column_names.index({column}), {column}, "
        f"a.array(x, a.list_(a.float32()))), {_text(out)})"
    )


def columns_in_order(path: Path, like: Path) -> str:
    """Writes a table again with its columns in the order of those of another of its kind."""
    out = free(path.with_suffix(f".ordered{path.suffix}"))
    order = "o = [x for x in n if x in c] + [x for x in c if x not in n]; "
    if path.suffix.lower() in (".parquet", ".pq"):
        return _command(
            f"import pyarrow.parquet as q; t = q.read_table({_text(path)}); c = t.column_names; "
            f"n = q.read_schema({_text(like)}).names; {order}q.write_table(t.select(o), "
            f"{_text(out)})"
        )
    opened = f"encoding={quoted('utf-8-sig')}, newline={quoted('')}"
    return _command(
        f"import csv; f = lambda p: open(p, {opened}).read(); "
        f"d = lambda t: max({quoted(',;|')} + chr(9), key=t.splitlines()[0].count); "
        "r = lambda p: list(csv.reader(f(p).splitlines(True), delimiter=d(f(p)))); "
        f"a = r({_text(path)}); c = a[0]; n = r({_text(like)})[0]; {order}"
        f"csv.writer(open({_text(out)}, {quoted('w')}, newline={quoted('')}), "
        f"delimiter=d(f({_text(path)}))).writerows([x[c.index(y)] for y in o] for x in a)"
    )


def without_columns(path: Path, names: Sequence[str]) -> str:
    """Writes a table of text or parquet without some columns; "" for other kinds."""
    out = free(path.with_suffix(f".cut{path.suffix}"))
    left_out = ", ".join(map(quoted, names))
    if path.suffix.lower() in (".parquet", ".pq"):
        return _command(
            f"import pyarrow.parquet as q; q.write_table(q.read_table({_text(path)})"
            f".drop_columns([{left_out}]), {_text(out)})"
        )
    if path.suffix.lower() not in (".csv", ".tsv"):
        return ""
    read = f"open({_text(path)}, encoding={quoted('utf-8-sig')}, newline={quoted('')}).read()"
    return _command(
        f"import csv; t = {read}; d = max({quoted(',;|')} + chr(9), "
        "key=t.splitlines()[0].count); r = list(csv.reader(t.splitlines(True), delimiter=d)); "
        f"k = [i for i, x in enumerate(r[0]) if x.strip() not in [{left_out}]]; "
        f"csv.writer(open({_text(out)}, {quoted('w')}, newline={quoted('')}), "
        "delimiter=d).writerows([x[i] for i in k] for x in r if x)"
    )


def by_sorted_names(file: Path, stem: str, others: Sequence[str]) -> str:
    """Writes what stands in the order of the arrays in its folder as a dictionary by their names.

    Args:
        file: an array or a list.
        stem: what the dictionary is called.
        others: arrays there that are no items.
    """
    names = ", ".join(map(quoted, others))
    read = f"json.load(open({_text(file)}))"
    if file.suffix == ".npy":
        read = f"n.load({_text(file)})"
    old, out = free(file.with_name(f"{file.name}.old")), file.with_name(f"{stem}.json")
    return _command(
        f"import json, os, numpy as n; v = n.array({read}); "
        f"k = sorted(x for x in os.listdir({_text(file.parent)}) if x.endswith({quoted('.npy')}) "
        f"and x not in [{names}]); os.rename({_text(file)}, {_text(old)}); "
        f"v = v.reshape(len(k), -1).astype(float).tolist(); json.dump({{x[:-4]: y if len(y) > 1 "
        f"else y[0] for x, y in zip(k, v)}}, open({_text(out)}, {quoted('w')}))"
    )


def from_arrow(path: Path, *, stream: bool) -> str:
    """Turns a table of Arrow, or a stream of one, into a table of parquet."""
    out = _text(free(path.with_suffix(".parquet")))
    read = f"f.read_table({_text(path)})"
    if stream:
        read = f"a.ipc.open_stream(open({_text(path)}, {quoted('rb')})).read_all()"
    return _command(
        f"import pyarrow as a, pyarrow.feather as f, pyarrow.parquet as q; "
        f"q.write_table({read}, {out})"
    )


def from_arrow_folder(folder: Path) -> str:
    """Turns the streams of Arrow in a folder, in the order of their names, into one of parquet."""
    # What else lies there are remains of earlier steps.
    called = "data-*.arrow" if any(folder.glob("data-*.arrow")) else "*.arrow"
    parts = f"sorted(pathlib.Path({_text(folder)}).glob({quoted(called)}))"
    return _command(
        "import pathlib, pyarrow as a, pyarrow.parquet as q; q.write_table(a.concat_tables("
        f"[a.ipc.open_stream(p.open({quoted('rb')})).read_all() for p in {parts}]), "
        f"{_text(free(folder.with_name(f'{folder.name}.parquet')))})"
    )


def from_numbers(path: Path) -> str:
    """Turns rows of numbers with blanks between them, as numpy.savetxt writes, into npy."""
    out = free(path.with_suffix(".npy"))
    return _command(f"import numpy as n; n.save({_text(out)}, n.loadtxt({_text(path)}))")


def from_sparse(path: Path) -> str:
    """Turns a sparse matrix of scipy into npy: with 0 where nothing is stored, or with -inf."""
    return _dense(path, f"s.load_npz({_text(path)})")


def from_matrix_market(path: Path, *, dense: bool) -> str:
    """Turns a file of Matrix Market into npy; `dense`: it holds all numbers."""
    read = f"i.mmread({_text(path)})"
    if dense:
        out = _text(free(path.with_suffix(".npy")))
        made = _command(f"import numpy as n, scipy.io as i; n.save({out}, {read})")
        return f"make it an array: {made}"
    return _dense(path, read)


def _dense(path: Path, read: str) -> str:
    out, load = _text(free(path.with_suffix(".npy"))), "import numpy as n, scipy.io as i, "
    load += f"scipy.sparse as s; x = s.coo_matrix({read}); "
    zeros = _command(f"{load}n.save({out}, x.toarray())")
    none = _command(
        f"{load}d = n.full(x.shape, -n.inf, n.result_type(x.dtype, n.float32)); "
        f"d[x.row, x.col] = x.data; n.save({out}, d)"
    )
    return (
        f"make it dense, with 0 where nothing is stored: {zeros}; of scores, of which those that "
        f"are not stored are not scored: {none}"
    )


def truth_from_pickle(path: Path) -> str:
    """Turns a pickled ground truth into JSON."""
    return _DANGER + _command(
        f"import pickle, json; d = pickle.load(open({_text(path)}, {quoted('rb')}), "
        f"encoding={quoted('latin1')}); {_RECORDS}{_dumped(path)}"
    )


def truth_from_array(path: Path) -> str:
    """Turns a ground truth in a .npy, of objects or of numbers, into JSON."""
    return _DANGER + _command(
        f"import numpy as n, json; d = n.load({_text(path)}, allow_pickle=True).tolist(); "
        f"{_dumped(path)}"
    )


def truth_from_member(path: Path, name: str) -> str:
    """Turns a ground truth in an npz, one array of objects, into JSON."""
    return _DANGER + _command(
        f"import numpy as n, json; d = n.load({_text(path)}, allow_pickle=True)[{quoted(name)}]"
        f".tolist(); {_dumped(path)}"
    )


def truth_from_torch(path: Path, *, all_: bool = False) -> str:
    """Turns a ground truth of torch.save into JSON; `all_`: also objects of any kind."""
    made = _command(
        f"import torch, json; d = torch.load({_text(path)}, map_location={quoted('cpu')}, "
        f"weights_only={not all_}); {_RECORDS}{_dumped(path)}"
    )
    return _DANGER + made if all_ else made


def truth_table(path: Path, load: str, left: str, right: str) -> str:
    """Turns two columns, queries and items row by row, into a table; `load` is code that opens."""
    table = free(path.with_suffix(".tsv"))
    return _command(
        f"{load}; open({_text(table)}, {quoted('w')}).write({quoted('query_id')} + chr(9) + "
        f"{quoted('video_id')} + chr(10) + {quoted('')}.join(str(a) + chr(9) + str(b) + chr(10) "
        f"for a, b in zip(n.asarray({left}).tolist(), n.asarray({right}).tolist())))"
    )


def unzipped(path: Path) -> str:
    """Unpacks a zip archive into a folder beside it."""
    out = free(path.with_suffix("") if path.suffix else path.with_name(f"{path.name}.files"))
    return f"{_python()} -m zipfile -e {typed_word(path)} {typed_word(out)}"


def free(out: Path) -> Path:
    """The path, or one like it under which nothing lies, so that no recipe replaces a file."""
    number, found = 1, out
    while found.exists():
        number += 1
        found = out.with_name(f"{out.stem}.{number}{out.suffix}")
    return found


def _saved(content: str, out: Path) -> str:
    """Saves what a piece of code gives."""
    return f"save_plain({content}, {_text(free(out))})"


def _dumped(path: Path) -> str:
    out = free(path.with_suffix(".plain.json" if path.suffix == ".json" else ".json"))
    return (
        f"json.dump(d, open({_text(out)}, {quoted('w')}), "
        f"default=lambda x: x.tolist() if hasattr(x, {quoted('tolist')}) else list(x))"
    )


def _command(code: str) -> str:
    return f"{_python()} -c {shlex.quote(code)}"


def _python() -> str:
    """What calls the interpreter that runs this: by its path where `python` is another, or none."""
    here = Path(sys.executable or "python").parent
    found = shutil.which("python")
    if not sys.executable or (found is not None and Path(found).parent.samefile(here)):
        return "python"
    beside = here / "python"
    return shlex.quote(str(beside if beside.exists() else sys.executable))


def _text(path: Path) -> str:
    return quoted(str(path))


def quoted(text: str) -> str:
    """Text as Python writes it, in double quotes: the shell's single ones need no escape then."""
    return json.dumps(text)
