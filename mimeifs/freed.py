"""What malloc(3) does with memory that was freed, in processes that take in one large request after the other."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> None:
    """Have malloc(3) keep up to 8 MiB of what was freed (mallopt(3)): buffers of requests would otherwise be mapped and
    unmapped each time, at a page fault for every 4 KiB. Where the C library is another one, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 8 << 20)
