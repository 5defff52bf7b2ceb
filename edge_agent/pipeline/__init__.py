"""A frame's way through two threads: capture, the slot for the newest frame, inference.

Begin with `capture_loop` and `inference_loop`, which meet in `latest`. `motion` lets a still scene pass,
`stabilizer` steadies the label, `answers` makes the payloads.
"""
