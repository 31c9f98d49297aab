"""Folders that belong to one kernel, and trees that a sandbox may have written."""
