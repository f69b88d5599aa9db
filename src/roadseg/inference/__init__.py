"""Prediction: windows and their blending, engines that compute them, prediction folders."""

__all__: list[str] = []
