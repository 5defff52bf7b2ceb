"""Measures engines in fresh processes; shared by calibration and the bench."""
