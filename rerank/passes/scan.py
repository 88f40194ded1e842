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
def _candidates(row, times, plus, slack, share, least, floor, lanes, heap, places):  # noqa: ANN001, ANN202
    """How many columns may be among the best of a row; as many as fit go to `places`.

    Column j belongs to lane j mod len(lanes), so that maxima of all lanes are vector operations.
    """
    m, width = row.shape[0], lanes.shape[0]
    for lane in range(width):
        lanes[lane] = _decode(row[lane]) * times[lane] + plus[lane]
    for start in range(width, m, width):
        # Views from 0: an index that might be negative would keep the loop from being vectorised.
        stop = start + width
        scores, factors, biases = row[start:stop], times[start:stop], plus[start:stop]
        for lane in range(scores.shape[0]):
            value, best = _decode(scores[lane]) * factors[lane] + biases[lane], lanes[lane]
            lanes[lane] = value if value > best else best
    # The k best lanes hold k columns of at least this: nothing below it is better than all of them.
    enough = _kth(lanes, heap) * share - slack
    count = 0
    if enough < least:
        # What was rounded to nothing may be among them: it is at most `floor`.
        for j in range(m):
            if not max(_decode(row[j]), floor) * times[j] + plus[j] < enough:
                if count < places.shape[0]:
                    places[count] = j
                count += 1
        return count
    for lane in range(width):
        if not lanes[lane] < enough:
            for j in range(lane, m, width):
                if not _decode(row[j]) * times[j] + plus[j] < enough:
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
def _ranked(query, gallery, column, places, scores, indices):  # noqa: ANN001, ANN202
    """Fill the best <query, v_j> + column_j of some places, best first, ties by index."""
    k = scores.shape[0]
    scores[:], indices[:] = np.float32(-np.inf), gallery.shape[0]
    for j in places:
        score = _dot(query, gallery[j]) + column[j]
        at = k
        while at > 0 and (
            score > scores[at - 1] or (score == scores[at - 1] and j < indices[at - 1])
        ):
            if at < k:
                scores[at], indices[at] = scores[at - 1], indices[at - 1]
            at -= 1
        if at < k:
            scores[at], indices[at] = score, j


@_jit
def best(  # noqa: ANN201
    panel, times, plus, slack, share, least, floor, queries, gallery, column, most, scores,  # noqa: ANN001
    indices,  # noqa: ANN001
):  # fmt: skip
    """The best <q_i, v_j> + column_j of every row, best first, ties by index; how many were tried.

    Args:
        panel: (b, m) rounded scores: with `plus` they are right to a constant and slack_i / 2; or
            their rounded exponentials, which times `times` are right to a factor, and within
            share^(1/2).
        times: (m,) what exponentials leave out, or ones.
        plus: (m,) what scores leave out, or zeros.
        slack: (b,), share: see `panel`.
        share: see `slack`.
        least: in rows whose k-th best is below, entries that were rounded to 0 may be better.
        floor: they are at most this, before `times`.
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
        tried[i] = _candidates(
            panel[i], times, plus, slack[i], share, least, floor, lanes, heap, places
        )  # fmt: skip
        if tried[i] <= most:
            _ranked(queries[i], gallery, column, places[: tried[i]], scores[i], indices[i])
    return tried


@_jit
def _raise_lanes(kernel, columns, times, first, lanes):  # noqa: ANN001, ANN202
    """Largest entries of some columns; row i of all belongs to lane i mod len(lanes)."""
    at = first % lanes.shape[0]
    for i in range(kernel.shape[0]):
        row, lane, factor = kernel[i, columns[0] : columns[1]], lanes[at], times[first + i]
        for j in range(row.shape[0]):
            value = _decode(row[j]) * factor
            lane[j] = value if value > lane[j] else lane[j]
        at = at + 1 if at + 1 < lanes.shape[0] else 0


@_jit
def _reaching(kernel, column, times, first, lane, width, enough, floor, places, count):  # noqa: ANN001, ANN202, E501
    """How many entries of a column in one lane reach something, added to those found before."""
    for i in range((lane - first) % width, kernel.shape[0], width):
        if not max(_decode(kernel[i, column]), floor) * times[first + i] < enough:
            if count < places.shape[0]:
                places[count] = first + i
            count += 1
    return count


@_jit
def best_of_columns(  # noqa: ANN201
    upper, lower, times, share, least, floor, queries, gallery, column, most, bounds,  # noqa: ANN001
    step, steps, scores, indices, tried,  # noqa: ANN001
):  # fmt: skip
    """`best` for the columns of a kernel whose rows are the items, in two pieces.

    Args:
        upper: (a, m) rounded exponentials of the first items, and lower: (n - a, m) of the others.
        lower: see `upper`.
        times: (n,) what they leave out.
        share: as in `best`, also `least`, `floor`, `column` (n,) and `most`.
        least: see `share`.
        floor: see `share`.
        queries: (m, d), gallery: (n, d).
        gallery: see `queries`.
        column: see `share`.
        most: see `share`.
        bounds: where blocks of columns begin and end.
        step: the first block to do, steps: every which.
        steps: see `step`.
        scores: (m, k) to fill.
        indices: (m, k) to fill.
        tried: (m,) to fill.
    """
    n, k = len(times), scores.shape[1]
    width = min(n, 16 * math.ceil(math.sqrt(n * k) / 16))
    held, heap = np.empty(width, np.float32), np.empty(k, np.float32)
    places = np.empty(most, np.int64)
    for block in range(step, bounds.shape[0] - 1, steps):
        columns = bounds[block], bounds[block + 1]
        lanes = np.zeros((width, columns[1] - columns[0]), np.float32)
        _raise_lanes(upper, columns, times, 0, lanes)
        _raise_lanes(lower, columns, times, len(upper), lanes)
        for j in range(*columns):
            held[:] = lanes[:, j - columns[0]]
            enough, count = _kth(held, heap) * share, 0
            lowest = floor if enough < least else np.float32(0.0)
            for lane in range(width):
                if lowest > 0 or not held[lane] < enough:
                    count = _reaching(
                        upper, j, times, 0, lane, width, enough, lowest, places, count
                    )  # fmt: skip
                    count = _reaching(
                        lower, j, times, len(upper), lane, width, enough, lowest, places, count
                    )  # fmt: skip
            tried[j] = count
            if tried[j] <= most:
                _ranked(queries[j], gallery, column, places[: tried[j]], scores[j], indices[j])
