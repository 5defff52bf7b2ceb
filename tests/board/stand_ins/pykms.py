"""Stands in for pykms, which picamera2 imports for its preview on a screen."""

PixelFormat = None
