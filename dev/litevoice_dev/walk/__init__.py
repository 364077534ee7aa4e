"""From a caller who hears nothing to the cause: faults are planted, and `litevoice` is asked."""
