"""What a layer costs on an accelerator, in cycles, traffic and energy, at every precision."""
