"""Pictures in: cameras, video files, and how pictures travel from process to process."""
