"""What picamera2 imports from here."""

PICAM2DNG = None
