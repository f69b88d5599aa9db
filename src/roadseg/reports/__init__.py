"""Pictures and pages: overlays, sheets, curves, the report of a run."""

__all__: list[str] = []
