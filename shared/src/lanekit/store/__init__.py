"""Artifacts: present or not, never half; in a folder or in MinIO. May import sources, plan and lower."""
