"""Measures engines and precisions on this CPU, each in a fresh process, and keeps the evidence."""
