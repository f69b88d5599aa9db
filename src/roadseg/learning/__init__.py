"""Learning: perturbation, batches, losses, metrics, optimisers, the training run and its folder."""

__all__: list[str] = []
