"""Cameras that send JPEG pictures over HTTP, one by one or as a stream, without OpenCV."""
