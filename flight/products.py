"""What the model predicts, as the products that go down: quick-looks, chips, municipalities, a slice at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flight.errors import RefusedError
from flight.link import municipal, product
from flight.link.municipal import MunicipalProduct
from flight.link.packet import FileKind
from flight.link.product import DIGEST_BYTES, MAX_BLOCK, BlockSums, Product
from flight.link.region import Region
from flight.link.transfer import File
from flight.municipal_work import Found, MunicipalWork

if TYPE_CHECKING:
    from flight.payload import Payload


@dataclass
class Look:
    """A quick-look in the making: archived chips `at` to `end` are still to be predicted."""

    sums: BlockSums
    end: int
    at: int = 0


class Products:
    """The products of one payload; how far they are is in its `progress`."""

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        self.towns = MunicipalWork()
        self._look: Look | None = None
        self._look_block = payload.config.executive.quick_look_chips

    @property
    def to_predict(self) -> int:
        """Archived chips that the current model has not predicted yet; 0 while there is none.

        While a municipal product is asked for, chips that it still needs; at least 1.
        """
        if not self.payload.has_model:
            return 0
        n_records = len(self.payload.summaries)
        return self.towns.left(n_records) or max(0, n_records - self.payload.progress.predicted)

    def begin_again(self) -> None:
        """Let everything be predicted and sent down again."""
        self.payload.progress.predicted, self.payload.progress.overview, self._look = 0, False, None
        self.towns.restart()
        self._look_block = self.payload.config.executive.quick_look_chips

    def predict(self, n_chips: int) -> Product | MunicipalProduct | None:
        """Predict the next `n_chips`, and make a product; None without a model, or if none can be read.

        A municipal product that is asked for comes first. Where the chips need several products, a quick-look of all of
        them comes before them. Both are None until they are complete. MemoryFaultError if the model has changed by
        itself.
        """
        with self.payload.working(()):
            return self._next(n_chips)

    def _next(self, n_chips: int) -> Product | MunicipalProduct | None:
        where, progress = self.payload.region, self.payload.progress
        n_records = len(self.payload.summaries)
        if where is None or not self.to_predict:
            return None
        if self.towns.left(n_records):
            return self._total_further(where, n_chips)
        several = self.to_predict > self.payload.config.executive.product_chips and self._look_block > 1
        if not progress.overview and (several or self._look is not None):
            return self._look_further(where, n_chips)
        progress.overview, self._look = True, None
        start = progress.predicted
        progress.predicted = min(start + n_chips, n_records)
        found = self._predicted(start, progress.predicted)
        return self._product(where, *found, where.cols, 1) if found is not None else None

    def _look_further(self, where: Region, n_chips: int) -> Product | None:
        """Go on with the quick-look; the product when it is complete."""
        look = self._look or Look(BlockSums(self._look_block, where.cols), len(self.payload.summaries))
        self._look = look
        start, look.at = look.at, min(look.at + n_chips, look.end)
        found = self._predicted(start, look.at) if start < look.at else None
        if found is not None:
            look.sums.add(*found)
        if look.at < look.end:
            return None
        self.payload.progress.overview = True
        return self._product(where, *look.sums.means(), look.sums.cols, look.sums.block) if look.sums.chips else None

    def _total_further(self, where: Region, n_chips: int) -> MunicipalProduct | None:
        """Go on with the municipal product; the product when it is complete."""
        done = self.towns.go_on(where, len(self.payload.summaries), n_chips, self._predicted)
        labels = self.payload.labels
        if done is None or done[1].empty or labels is None:
            return None
        means, coverage = done[1].means()
        if done[0].unlabelled:
            labelled = ~labels.missing
            means[labelled], coverage[labelled] = np.nan, 0
        return MunicipalProduct(*self._next_ids(where), done[0].levels, means, coverage)

    def _product(
        self, where: Region, cells: NDArray[np.int32], proportions: NDArray[np.float32], cols: int, block: int
    ) -> Product:
        levels = self.payload.config.executive.product_levels
        return Product(*self._next_ids(where), levels, cells, proportions, cols, block)

    def _next_ids(self, where: Region) -> tuple[int, int, int, bytes]:
        """Region, task, label version and model of the next product, which is counted."""
        payload = self.payload
        payload.progress.products += 1
        digest = payload.progress.model_digest[:DIGEST_BYTES]
        return where.region_id, payload.task_id, payload.label_version, digest

    def _predicted(self, start: int, end: int) -> Found | None:
        """Cells in ascending order and their proportions, of archived chips `start` to `end` that can be read."""
        return self.payload.summaries.predicted(start, end, self.payload.learner.predict_summaries)

    def packed(self, made: Product | MunicipalProduct) -> File:
        """A product as the file that goes down."""
        payload = self.payload
        name = f"{made.task_id}-{made.label_version}-{payload.progress.products}"
        backend = payload.backend.decoders
        if isinstance(made, Product):
            return File(f"product-{name}", FileKind.PRODUCT, product.pack(made, backend))
        if payload.kept is None:
            raise RefusedError("no region on board")
        data = municipal.pack(made, payload.label_store.order_of(payload.kept), backend)
        return File(f"municipal-{name}", FileKind.MUNICIPAL_PRODUCT, data)

    def take_back(self, made: Product | MunicipalProduct, start: int, too_large: bool = False) -> None:
        """Let a product be made again that could not be sent; `start` is what was predicted before it.

        A quick-look that is too large for a file is made of blocks twice the size, if there are such; a municipal
        product of half as many levels.
        """
        progress = self.payload.progress
        if isinstance(made, MunicipalProduct):
            self.towns.take_back(too_large)
        elif made.block == 1:
            progress.predicted = start
        elif not too_large:
            progress.overview = False
        elif 2 * made.block <= MAX_BLOCK:
            progress.overview, self._look, self._look_block = False, None, 2 * made.block
