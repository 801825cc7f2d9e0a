"""Any registry that speaks the OCI distribution protocol."""
