"""Blobs in Azure Blob Storage."""
