"""Credentials of an Azure tenant."""
