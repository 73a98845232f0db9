"""`workflow: average`: frames shared out, summed in parts, merged few by few, and mean and variance put in place."""
