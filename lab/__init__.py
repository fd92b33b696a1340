"""An EngageIP estate in a box, on loopback: the other side of every wire that the product speaks."""
