"""Bring-up of the face: the command line, the description of the graph, and set-up."""
