"""Search for the candidates of a list: the best items of the catalogue, and the best tail items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.inference.candidates import Bools, Candidates, Floats, Indices, of_scores
from models.inference.cells import Cells
from models.inference.factors import Factors

Doubles = npt.NDArray[np.float64]
SUBSET = 0.25  # of the catalogue; only the rows of a smaller subset are scored


class Index:
    """Index over all items (exact), or over the most promising cells (approximate) if `cells` are given."""

    def __init__(self, factors: Factors, is_tail: Bools, cells: Cells | None = None) -> None:
        """Order the vectors by cell, if there are cells; is_tail: (n_items,)."""
        self.factors, self.is_tail = factors.item_factors, is_tail
        self.anchored = np.flatnonzero(factors.anchored)
        self.is_anchored = factors.anchored
        self.cells = cells
        if cells is not None:
            # ordered by cell, so that the vectors of a cell are contiguous
            self.in_cells, self.is_tail_in_cells = self.factors[cells.items], is_tail[cells.items]
            self.place = np.empty(len(cells.items), np.int32)  # (n_items,), position of an item in that order
            self.place[cells.items] = np.arange(len(cells.items), dtype=np.int32)

    def candidates(self, user: Floats, bonus: float, seen: Indices, *, k: int) -> Candidates:
        """Return the candidates (`candidates.of_scores`) of a user (d,) for a list of k; cold items gain `bonus`."""
        if self.cells is not None:
            spans = self.cells.spans(user, wanted=k + len(seen))
            items = np.concatenate([self.cells.items[start:end] for start, end in spans])
            scores = np.concatenate([self.in_cells[start:end] @ user for start, end in spans])  # no cell is copied
            is_tail = np.concatenate([self.is_tail_in_cells[start:end] for start, end in spans])
            scores = self.lifted(scores, items, bonus)
            scores[within(spans, self.place[seen])] = -np.inf
            return named(of_scores(scores, is_tail, k=k), items)
        scores = self.factors @ user
        scores[self.anchored] += np.float32(bonus)
        scores[seen] = -np.inf
        return of_scores(scores, self.is_tail, k=k)

    def candidates_of(self, rows: Indices, user: Floats, bonus: float, seen: Indices, *, k: int) -> Candidates:
        """Return the candidates among the items `rows` (m,), whatever their cells."""
        few = len(rows) < SUBSET * len(self.factors)
        scores = self.factors[rows] @ user if few else (self.factors @ user)[rows]
        return self.among(rows, self.lifted(scores, rows, bonus), seen, k=k)

    def among(self, items: Indices, scores: Floats, seen: Indices, *, k: int) -> Candidates:
        """Return the candidates among items (m,) with scores (m,)."""
        hidden = np.zeros(len(self.factors), np.bool_)
        hidden[seen] = True
        scores[hidden[items]] = -np.inf
        return named(of_scores(scores, self.is_tail[items], k=k), items)

    def lifted(self, scores: Floats, items: Indices, bonus: float) -> Floats:
        """Add the bonus to the scores (m,) of cold items among items (m,)."""
        return scores + np.float32(bonus) * self.is_anchored[items] if bonus and len(self.anchored) else scores

    def scores(self, items: Indices, user: Floats, bonus: float) -> Floats:
        """Return the scores (m,) of items (m,)."""
        found: Floats = self.factors[items] @ user + np.float32(bonus) * self.is_anchored[items]
        return found

    def batch(
        self, users: Floats, bonuses: Doubles, seen: Sequence[Indices], *, k: int, cells: int = 2**24
    ) -> list[Candidates]:
        """Return the candidates of many users (b, d), with at most `cells` scores in memory at once."""
        if self.cells is not None:
            return [self.candidates(*each, k=k) for each in zip(users, bonuses, seen, strict=True)]
        found, block = [], max(1, cells // len(self.factors))
        for start in range(0, len(users), block):
            part = slice(start, start + block)
            scores = users[part] @ self.factors.T  # (block, n_items)
            scores[:, self.anchored] += bonuses[part, None].astype(np.float32)
            for row, hidden in zip(scores, seen[part], strict=True):
                row[hidden] = -np.inf
                found.append(of_scores(row, self.is_tail, k=k))
        return found


def named(found: Candidates, items: Indices) -> Candidates:
    """Replace positions in items (m,) by the items; -1 stays -1."""
    return Candidates(np.append(items, -1)[found.items], found.relevance)


def within(spans: Sequence[tuple[int, int]], places: Indices) -> Indices:
    """Return the positions of places (h,) in the concatenation of spans; places outside all spans are left out."""
    starts, ends = np.array(spans).T
    offsets = np.cumsum(ends - starts) - (ends - starts)
    row, span = np.nonzero((places[:, None] >= starts) & (places[:, None] < ends))
    where: Indices = places[row] - starts[span] + offsets[span]
    return where
