"""Measuring: how near a predicted face is to the filmed one, in space, in time, in opening."""
