"""Floor 2: inference. Predictors, batching, the replica process, the gateway and batch scoring."""
