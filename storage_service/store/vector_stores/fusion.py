"""One ranking out of two: by words and by meaning. Pure.

Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009): a chunk counts by its rank in each, since BM25 and
cosines have no common measure. Divided by the most there is, so that 1 is a chunk which is first in both.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from storage_service.store.vector_stores.index import Hit

# The paper's: how much less the second counts than the first.
_K = 60


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each ranking counts; only their proportion matters."""

    words: float = 1.0
    meaning: float = 1.0


def fuse(words: Sequence[Hit], meaning: Sequence[Hit], weights: Weights) -> list[Hit]:
    """The hits of two rankings, each the best first, as one; equal ones in the order of files and places.

    A ranking that counts alone keeps its own scores.
    """
    if not weights.words:
        return list(meaning)
    if not weights.meaning:
        return list(words)
    sums: defaultdict[tuple[str, int], float] = defaultdict(float)
    hits: dict[tuple[str, int], Hit] = {}
    top = max(weights.words, weights.meaning)  # shares of it: two that are next to nothing would add up to nothing
    of_words, of_meaning = weights.words / top, weights.meaning / top
    most = (of_words + of_meaning) / (_K + 1)
    for ranking, weight in ((words, of_words), (meaning, of_meaning)):
        for rank, hit in enumerate(ranking, 1):
            sums[hit.file_id, hit.start] += weight / (_K + rank) / most
            hits[hit.file_id, hit.start] = hit
    best = sorted(hits, key=lambda place: (-sums[place], place))
    return [replace(hits[place], score=min(sums[place], 1.0)) for place in best]
