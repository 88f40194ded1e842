"""Numba kernels that count scores above a reference, and look again at those near it."""

from functools import partial

import numpy as np

from rerank.passes.sinkhorn.cpu import _jit

# Columns that are looked at together for a score near its reference.
_LOOK = 32


# Without liberties for the compiler: the same bits wherever it is called from, or a query would not
# tie with itself.
@partial(_jit, fast=False)
def _dot(x, y):  # noqa: ANN001, ANN202  typed by numba
    a = b = c = d = np.float32(0.0)
    e = f = g = h = np.float32(0.0)
    whole = x.shape[0] // 8 * 8
    for k in range(0, whole, 8):
        a += x[k] * y[k]
        b += x[k + 1] * y[k + 1]
        c += x[k + 2] * y[k + 2]
        d += x[k + 3] * y[k + 3]
        e += x[k + 4] * y[k + 4]
        f += x[k + 5] * y[k + 5]
        g += x[k + 6] * y[k + 6]
        h += x[k + 7] * y[k + 7]
    for k in range(whole, x.shape[0]):
        a += x[k] * y[k]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@_jit
def scores_of(queries, gallery, column, rows, items):  # noqa: ANN001, ANN201
    """<q_i, v_j> + column_j of some pairs (i, j), as `count` finds them."""
    out = np.empty(rows.shape[0], np.float32)
    for p in range(rows.shape[0]):
        out[p] = _dot(queries[rows[p]], gallery[items[p]]) + column[items[p]]
    return out


@_jit
def _of_row(row, plus, low, high):  # noqa: ANN001, ANN202
    """How many of row + plus are above `high`, and how many from `low` to it."""
    above = near = np.int32(0)
    for j in range(row.shape[0]):
        value = row[j] + plus[j]
        above += np.int32(value > high)
        near += np.int32(value >= low) - np.int32(value > high)
    return above, near


@_jit
def _of_part(row, plus, low, high, above):  # noqa: ANN001, ANN202
    """Add to `above` where entries of a row + plus exceed `high`; how many lie between."""
    near = np.int32(0)
    for j in range(row.shape[0]):
        value = row[j] + plus
        more = np.int32(value > high[j])
        above[j] += more
        near += np.int32(value >= low[j]) - more
    return near


@_jit
def count(  # noqa: ANN201
    panel, first, queries, gallery, corrections, lows, highs, references, of_rows, of_columns,  # noqa: ANN001
):  # fmt: skip
    """Add up what is above, and equal to, the references of some rows and of all columns.

    Two of everything: of rows against all columns, and of columns against these rows.

    Args:
        panel: (b, m) products of rows.
        first: the place of its first row.
        queries: (n, d), gallery: (m, d).
        gallery: see `queries`.
        corrections: (m,) added to the scores of rows, and (n,) to those of columns.
        lows: (n,) and (m,): nothing that is found lower reaches the reference.
        highs: (n,) and (m,): all that is found higher exceeds it.
        references: (n,) and (m,) exact scores; of no use where low and high are infinite.
        of_rows: (2, n) int64, and of_columns: (2, m) int64, above and equal.
        of_columns: see `of_rows`.
    """
    m = panel.shape[1]
    above = np.zeros(m, np.int32)
    for b in range(panel.shape[0]):
        i, row = first + b, panel[b]
        low, high = lows[0][i], highs[0][i]
        more, near = _of_row(row, corrections[0], low, high)
        of_rows[0, i] += more
        if near > 0:
            for j in range(m):
                value = row[j] + corrections[0][j]
                if value >= low and not value > high:
                    score = _dot(queries[i], gallery[j]) + corrections[0][j]
                    of_rows[0, i] += np.int64(score > references[0][i])
                    of_rows[1, i] += np.int64(score == references[0][i])
        plus = corrections[1][i]
        for start in range(0, m, _LOOK):
            stop = min(start + _LOOK, m)
            bottom, top = lows[1][start:stop], highs[1][start:stop]
            if _of_part(row[start:stop], plus, bottom, top, above[start:stop]) > 0:
                for j in range(start, stop):
                    value = row[j] + plus
                    if value >= lows[1][j] and not value > highs[1][j]:
                        score = _dot(queries[i], gallery[j]) + corrections[1][i]
                        of_columns[0, j] += np.int64(score > references[1][j])
                        of_columns[1, j] += np.int64(score == references[1][j])
    for j in range(m):
        of_columns[0, j] += above[j]
