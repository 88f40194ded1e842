"""Numba kernels of the certified top-k: scan rounded scores, then score the candidates exactly."""

import numpy as np

from rerank.kernels.cpu import _decode, _jit, _largest

# Entries that are compared with the threshold at once.
_STRIDE = 128


@_jit
def _sift(values, places, size, value, place):  # noqa: ANN001, ANN202  typed by numba
    """Replace the smallest entry of a heap (smallest first) by a larger one."""
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and values[child + 1] < values[child]:
            child += 1
        if values[child] >= value:
            break
        values[i], places[i] = values[child], places[child]
        i = child
    values[i], places[i] = value, place


@_jit
def _scan_row(row, column, maxima, values, places):  # noqa: ANN001, ANN202
    """Keep the largest len(values) of row + column; values[0] is the smallest one kept."""
    m, size, strides = row.shape[0], values.shape[0], maxima.shape[0]
    for c in range(size):
        values[c], places[c] = np.float32(-np.inf), -1
    for s in range(strides):
        maxima[s] = _largest(row, column, s * _STRIDE, min(m, s * _STRIDE + _STRIDE))
        if maxima[s] > values[0]:
            _sift(values, places, size, maxima[s], s)
    # As many strides hold a value of at least this: nothing below it can be kept.
    enough = values[0]
    for c in range(size):
        values[c], places[c] = np.float32(-np.inf), -1
    for s in range(strides):
        if maxima[s] >= enough and maxima[s] > values[0]:
            for j in range(s * _STRIDE, min(m, s * _STRIDE + _STRIDE)):
                value = _decode(row[j]) + column[j]
                if value >= enough and value > values[0]:
                    _sift(values, places, size, value, j)


@_jit
def candidates(panel, column, bounds, first, step, places, floors):  # noqa: ANN001, ANN201
    """The best columns of every row of a panel, and the smallest rounded score among them."""
    values = np.empty(places.shape[1], np.float32)
    maxima = np.empty(-(-panel.shape[1] // _STRIDE), np.float32)
    for part in range(first, bounds.shape[0] - 1, step):
        for i in range(bounds[part], bounds[part + 1]):
            _scan_row(panel[i], column, maxima, values, places[i])
            floors[i] = values[0]


@_jit
def exact(queries, gallery, column, places, bounds, first, step, scores):  # noqa: ANN001, ANN201
    """Scores <q_i, v_j> + column_j of the candidates, summed in float32 over strips of 16."""
    d = queries.shape[1]
    lanes = np.zeros(16, np.float32)
    whole = d - d % 16
    for part in range(first, bounds.shape[0] - 1, step):
        for i in range(bounds[part], bounds[part + 1]):
            for c in range(places.shape[1]):
                j = places[i, c]
                lanes[:] = 0
                for k in range(0, whole, 16):
                    for lane in range(16):
                        lanes[lane] += queries[i, k + lane] * gallery[j, k + lane]
                total = np.float32(0.0)
                for lane in range(16):
                    total += lanes[lane]
                for k in range(whole, d):
                    total += queries[i, k] * gallery[j, k]
                scores[i, c] = total + column[j]
