"""What becomes of masks: 16x16 patches and contest submissions."""

__all__: list[str] = []
