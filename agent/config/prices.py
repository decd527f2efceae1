"""What a teacher charges: from the configuration, or from the list that ships (`prices.yaml`)."""

import re
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from ruamel.yaml import YAML

#: Most tokens that an image is charged as, unless the list says more or one token for `_PIXELS` pixels comes to more.
IMAGE_TOKENS = 4000
_PIXELS = 750
#: What a request in a batch costs of the price, unless the list says otherwise: half, at all providers that say so.
BATCH = 0.5
#: Tokens that frame a message, and room for what a provider adds to a prompt of its own.
_FRAME = 200


class Price(NamedTuple):
    """US dollars per million tokens in and out; `image`: most tokens that an image is charged as; `batch`: share of the price
    that a request in a batch costs."""

    inward: float
    outward: float
    image: int = IMAGE_TOKENS
    batch: float = BATCH

    def of(self, tokens_in: int, tokens_out: int, in_batch: bool = False) -> float:
        """US dollars for so many tokens."""
        full = (tokens_in * self.inward + tokens_out * self.outward) / 1e6
        return full * self.batch if in_batch else full

    def at_most(self, texts: int, sizes: list[tuple[int, int]], tokens_out: int) -> float:
        """US dollars that a request cannot cost more than: `texts` bytes of text (a token has at least one byte),
        images of these sizes (width and height, pixels), a reply of at most `tokens_out`."""
        images = sum(max(self.image, width * height // _PIXELS) for width, height in sizes)
        return self.of(_FRAME + texts + images, tokens_out)


def find_price(
    model: str, price_in: float | None, price_out: float | None, batch: float | None = None, free: bool = False
) -> Price | None:
    """The price of a model; what is given goes before the list. `free`: what is not given costs nothing. None if a part
    of it is not known."""
    listed = _listed().get(model) or _listed().get(re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", model), {})
    unknown = 0.0 if free else None
    inward = listed.get("in", unknown) if price_in is None else price_in
    outward = listed.get("out", unknown) if price_out is None else price_out
    if inward is None or outward is None:
        return None
    share = listed.get("batch", BATCH) if batch is None else batch
    return Price(inward, outward, listed.get("image", IMAGE_TOKENS), share)


@cache
def _listed() -> dict[str, dict[str, Any]]:
    text = resources.files("agent.config").joinpath("prices.yaml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Any]] = YAML(typ="safe").load(text)["models"]
    return found
