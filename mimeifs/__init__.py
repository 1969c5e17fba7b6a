"""mimeifs: a versioned file system of MiMeis, objects with a name that never changes and a past that never vanishes."""

__version__ = "0.1.0"
