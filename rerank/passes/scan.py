"""Numba kernels of the certified top-k: scan rounded scores, score what may be best exactly."""

import math

import numpy as np

from rerank.passes.sinkhorn.cpu import _decode, _encode, _jit


@_jit
def rounded(rows, mean, other, out, error, norm, whole, product):  # noqa: ANN001, ANN201
    """bfloat16 rows of c = rows - mean, and of each |c - out|^2, |c|^2, |row|^2, <row, other>."""
    for i in range(rows.shape[0]):
        e = c = w = p = np.float32(0.0)
        for k in range(rows.shape[1]):
            centred = rows[i, k] - mean[k]
            out[i, k] = _encode(centred, out[i, k])
            lost = centred - _decode(out[i, k])
            e += lost * lost
            c += centred * centred
            w += rows[i, k] * rows[i, k]
            p += rows[i, k] * other[k]
        error[i], norm[i], whole[i], product[i] = e, c, w, p


@_jit
def _kth(values, heap):  # noqa: ANN001, ANN202
    """The len(heap)-th largest value."""
    size = heap.shape[0]
    heap[:] = np.float32(-np.inf)
    for value in values:
        if value > heap[0]:
            # The smallest is on top; it makes room and the others move up.
            i, child = 0, 1
            while child < size:
                if child + 1 < size and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= value:
                    break
                heap[i] = heap[child]
                i, child = child, 2 * child + 1
            heap[i] = value
    return heap[0]


@_jit
def _candidates(row, column, slack, lanes, heap, places):  # noqa: ANN001, ANN202
    """How many columns may be among the best of row + column; as many as fit go to `places`.

    Column j belongs to lane j mod len(lanes), so that maxima of all lanes are vector operations.
    """
    m, width = row.shape[0], lanes.shape[0]
    for lane in range(width):
        lanes[lane] = _decode(row[lane]) + column[lane]
    for start in range(width, m, width):
        # Views from 0: an index that might be negative would keep the loop from being vectorised.
        scores, biases = row[start : start + width], column[start : start + width]
        for lane in range(scores.shape[0]):
            value, best = _decode(scores[lane]) + biases[lane], lanes[lane]
            lanes[lane] = value if value > best else best
    # The k best lanes hold k columns of at least this: nothing below it is better than all of them.
    enough = _kth(lanes, heap) - slack
    count = 0
    for lane in range(width):
        if not lanes[lane] < enough:
            for j in range(lane, m, width):
                if not _decode(row[j]) + column[j] < enough:
                    if count < places.shape[0]:
                        places[count] = j
                    count += 1
    return count


@_jit
def _dot(x, y):  # noqa: ANN001, ANN202
    total = np.float32(0.0)
    for k in range(x.shape[0]):
        total += x[k] * y[k]
    return total


@_jit
def best(panel, shifted, slack, queries, gallery, column, most, scores, indices):  # noqa: ANN001, ANN201
    """The best <q_i, v_j> + column_j of every row, best first, ties by index; how many were tried.

    Args:
        panel: (b, m) rounded scores; with `shifted` they are right to a constant and slack_i / 2.
        shifted: (m,) what they leave out.
        slack: (b,).
        queries: (b, d), gallery: (m, d).
        gallery: see `queries`.
        column: (m,) corrections.
        most: rows with more candidates than this are left undone.
        scores: (b, k) to fill.
        indices: (b, k) to fill.
    """
    m, k = panel.shape[1], scores.shape[1]
    lanes = np.empty(min(m, 16 * math.ceil(math.sqrt(m * k) / 16)), np.float32)
    heap, places = np.empty(k, np.float32), np.empty(most, np.int64)
    tried = np.empty(panel.shape[0], np.int64)
    for i in range(panel.shape[0]):
        tried[i] = _candidates(panel[i], shifted, slack[i], lanes, heap, places)
        if tried[i] > most:
            continue
        scores[i], indices[i] = np.float32(-np.inf), m
        for j in places[: tried[i]]:
            score = _dot(queries[i], gallery[j]) + column[j]
            at = k
            while at > 0 and (
                score > scores[i, at - 1] or (score == scores[i, at - 1] and j < indices[i, at - 1])
            ):
                if at < k:
                    scores[i, at], indices[i, at] = scores[i, at - 1], indices[i, at - 1]
                at -= 1
            if at < k:
                scores[i, at], indices[i, at] = score, j
    return tried
