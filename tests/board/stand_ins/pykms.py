"""Stands in for pykms, which picamera2 imports for its preview on a screen."""


class _PixelFormats:
    def __getattr__(self, name: str) -> str:
        return name


PixelFormat = _PixelFormats()
