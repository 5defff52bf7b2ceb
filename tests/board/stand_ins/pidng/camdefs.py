"""What picamera2 imports from here."""

Picamera2Camera = None
