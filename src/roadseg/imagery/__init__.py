"""Images and masks: files of any kind, dataset folders, splits, duplicates, made scenes."""

__all__: list[str] = []
