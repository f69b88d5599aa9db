"""Models for other programs: ONNX (for QGIS and GeoDeep, or for programmers), OpenVINO, plain Keras."""

__all__: list[str] = []
