"""What becomes of masks: contest patches and submissions, centre lines, polygons, road networks and their scores."""

__all__: list[str] = []
