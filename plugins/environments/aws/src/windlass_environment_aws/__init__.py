"""Credentials of an AWS account."""
