"""Whom to believe before code is run: signatures over artifacts, the policy in ``trust.yaml``, and a scanner."""

from windlass.trust.policy import Permit, TrustConfig, check_may_load, load_policy

__all__ = ["Permit", "TrustConfig", "check_may_load", "load_policy"]
