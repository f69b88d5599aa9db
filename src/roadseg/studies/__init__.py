"""Many trainings that answer one question: cross-validation, ablations, and the statistics of both."""
