"""The api surface: commands for a node over its Unix socket, as typed requests and replies."""
