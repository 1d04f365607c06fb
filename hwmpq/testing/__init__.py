"""Laws that every registered part obeys, for our tests and for plug-ins."""
