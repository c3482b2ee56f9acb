"""Encoders, scope classifiers and their calibration."""
