"""How much a layer suffers at a precision: one file a metric."""
