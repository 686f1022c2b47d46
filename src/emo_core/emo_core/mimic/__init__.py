"""From a face on camera to the face it is about to make."""
