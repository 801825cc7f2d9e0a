"""The artifact engine: names, digests, manifests, and the way of bytes in and out of the blob store."""
