"""The store: bytes, maps, overlay and transactions; the only floor that touches LMDB and pack files."""
