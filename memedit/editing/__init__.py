"""Baked methods, one file each."""
