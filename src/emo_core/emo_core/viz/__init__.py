"""Pictures and video of what the stack does."""
