"""Published mixed-precision methods: one file each, run by one loop."""
