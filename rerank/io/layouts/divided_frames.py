"""One array whose rows are the frames of fewer items, one after the other."""

from collections.abc import Mapping
from dataclasses import replace

from rerank.core.errors import FormatError
from rerank.core.wording import either
from rerank.io.container import Container, Found
from rerank.io.field import Field
from rerank.io.frames.offsets import divisions
from rerank.io.frames.pooling import how_to_pool, pooled_offsets
from rerank.io.layouts.row_ids import ids_if_they_fit
from rerank.io.layouts.wanted import Wanted


def frames_of_fewer_items(
    container: Container, siblings: Mapping[str, Field], item: Field, wanted: Wanted
) -> Found | None:
    """Rows that are the frames of fewer items, one after the other, where the ids are of these.

    Raises:
        FormatError: there are no ids, or nothing says how frames are combined, or what they are.
    """
    ways = [] if wanted.force_rows else divisions(item, siblings)
    if not ways or ids_if_they_fit(container, siblings, item, wanted) is not None:
        return None
    for way in ways:
        few = replace(item, shape=(way.items, *item.shape[1:]))
        found = ids_if_they_fit(container, siblings, few, wanted)
        if found is None:
            continue
        if not way.said:
            raise FormatError(
                f"{way.where}: may say which of the {item.shape[0]} rows of {item.where} are the "
                f"frames of each of {way.items} items; if it does, store it as 'lengths' or "
                "'offsets'; if it does not, every row needs its id"
            )
        if wanted.pooling is None:
            raise FormatError(
                f"{item.where}: its {item.shape[0]} rows are the frames of {way.items} items, as "
                f"{way.where} says; {how_to_pool()}"
            )
        return Found(pooled_offsets(item, way.offsets(), found[0], wanted.pooling), *found)
    if ways[0].said and wanted.row_numbers and wanted.ids is None and wanted.side != "texts":
        rows = either(f"--{wanted.side[:-1] or 'video'}-ids rows", 'ids="rows"')
        raise FormatError(
            f"{ways[0].where}: may say which of the {item.shape[0]} rows of {item.where} are the "
            f"frames of each of {ways[0].items} items; if it does, give {ways[0].items} ids; if "
            f"every row is an item: {rows}"
        )
    return None
