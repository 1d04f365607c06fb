"""Networks as graphs of operators: shapes, MACs, weights and where they come from."""
