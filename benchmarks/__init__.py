"""Comparisons with other inference libraries, outside the package that runs on boards."""
