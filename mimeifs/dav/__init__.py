"""The surface that shows the node's tree as a network drive: WebDAV (RFC 4918) and pages for browsers."""
