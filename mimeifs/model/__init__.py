"""The model: what a MiMei is and does; synchronous, with no trio, no clock and no environment."""
