"""Questions that go ahead in batches, at half the price: what is sent, what is out and comes back, when it is looked at, and the
log of what was submitted."""
