"""Questions that go ahead in batches, at half the price: the batch API, the log of what was sent, the waiting."""
