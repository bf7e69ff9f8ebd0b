"""Read a store: batches of sparse samples, at device speed."""
