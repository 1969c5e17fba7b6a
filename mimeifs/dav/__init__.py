"""WebDAV: the node's tree for network drives and browsers."""
