"""The commands for the composed stack."""
